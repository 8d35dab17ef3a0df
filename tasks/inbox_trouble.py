"""What an OSError about a name in an inbox means: `errors.from_os_error` with what is known of inboxes.

An inbox's trouble must never pause the library, and a refusal names the mode and the owner that stand in the way.
"""

import errno
import os
from contextlib import suppress

from config.rights import rights_of
from tasks.errors import BlockedError, GoneError, IngestError, TransientError, from_os_error

NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS)
_NOT_A_FILE = (errno.ELOOP, errno.ENOTDIR, errno.ENXIO, errno.EISDIR)


def meaning_of(error: OSError, operation: str, path: str, dir_fd: int, name: str) -> IngestError:
    """The failure that an OSError stands for; `operation` on `path` met it at `name` in the open directory."""
    if error.errno in _NOT_A_FILE:
        return GoneError(
            f"could not {operation} {path}: {name!r} is not a directory or file of its own: {error.strerror}"
        )
    if error.errno in NO_ROOM:
        # A full inbox must not pause the library, which is what a ResourceError would do.
        return TransientError(f"could not {operation} {path}: {error.strerror} in the inbox", "free some space there")
    if error.errno not in REFUSED:
        return from_os_error(error, operation, path)
    facts = [f"its directory has {rights_of(os.fstat(dir_fd))}"]
    with suppress(OSError):
        facts.insert(0, f"{name!r} has {rights_of(os.stat(name, dir_fd=dir_fd, follow_symlinks=False))}")
    text = f"could not {operation} {path}: {error.strerror}: {', '.join(facts)}, we run as uid {os.geteuid()}"
    return BlockedError(text, "give the thumbdrop user the right to read the file and to write its directory")


def may_write(dir_fd: int) -> bool:
    """Whether we may make, rename and remove names in an open directory."""
    return os.access(".", os.W_OK | os.X_OK, dir_fd=dir_fd, effective_ids=True)
