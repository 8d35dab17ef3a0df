"""The check of `thumbdrop check` that writes to the library: whether its file system keeps what the library relies on.

Does for real, with the library's own means (tasks/durable.py), what it will do there: only that tells the truth about
network file systems and access lists. What a reader would get wrong: it sees what one machine can see. That another one's
files are overwritten cannot be seen from here, so a file system known for that is refused by its name.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from config.mounts import mount_of, read_mounts
from tasks.durable import (
    DIRECTORY,
    Rights,
    create_whole,
    discard,
    opened,
    place,
    read_file,
    temporary_name,
    write_whole,
)
from watcher.finding import Finding

_RIGHTS = Rights(0o600, 0o700)
_OTHER = "use another file system: a local one, NFS or SMB"
# Seen with rclone 1.60: a file that another machine has just made is overwritten by an exclusive creation, and neither a
# hard link nor a rename to a free name only (RENAME_NOREPLACE) is to be had.
_KNOWN_BAD = {"fuse.rclone": "an rclone mount overwrites what other machines create exclusively"}


def check_writing(root: str, user: str) -> Finding:
    """Create, rename and replace hidden files in an existing directory, and remove them; `user` is whoever we are."""
    mount = mount_of(os.path.realpath(root), read_mounts())
    if mount and mount.fstype in _KNOWN_BAD:
        return Finding("failed", f"library {root}: {_KNOWN_BAD[mount.fstype]}", _OTHER)
    try:
        for step, is_kept in _steps(root):
            if not is_kept:
                return Finding("failed", f"library {root}: {step}", _OTHER)
    except _StepError as failed:
        what = f"library {root}: could not {failed.step}: {failed.error.strerror}"
        return Finding("failed", what, f"let {user} write {root}, or {_OTHER}")
    return Finding("ok", f"library {root}: {user} can write it")


class _StepError(Exception):
    def __init__(self, step: str, error: OSError) -> None:
        super().__init__(step)
        self.step = step
        self.error = error


@contextmanager
def _step(step: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _StepError(step, error) from error


def _steps(root: str) -> Iterator[tuple[str, bool]]:
    """Yield what would be wrong, and whether it is as it should be."""
    first, second, third = names = [temporary_name() for _ in range(3)]
    with _step("open it"), opened(root, DIRECTORY) as dir_fd:
        try:
            with _step("create a file in it"):
                create_whole(dir_fd, first, b"first", _RIGHTS)
            yield "the file system creates files twice", _refuses(lambda: create_whole(dir_fd, first, b"", _RIGHTS))
            with _step("rename a file in it"):
                place(dir_fd, first, dir_fd, second)
                create_whole(dir_fd, third, b"third", _RIGHTS)
            yield "a rename there hits occupied names", _refuses(lambda: place(dir_fd, third, dir_fd, second))
            with _step("replace a file in it"):
                write_whole(dir_fd, second, b"second", _RIGHTS)
                is_new = read_file(dir_fd, second) == b"second"
            yield "a file that was replaced keeps its old content", is_new
        finally:
            for name in names:
                discard(dir_fd, name)


def _refuses(action: Callable[[], None]) -> bool:
    try:
        action()
    except FileExistsError:
        return True
    return False
