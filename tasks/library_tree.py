"""The library's directory tree: find, read and durably write below its root, by relative paths.

Knows modes, groups and what its failures mean, but not what is stored where. The root itself is never made here: a
library that is not there is an unmounted one, and writing into the empty mount point would scatter images.
"""

import errno
import grp
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from config.settings import LibrarySettings
from tasks.durable import DIRECTORY, Rights, discard, exists, open_below, opened, read_file, write_whole
from tasks.errors import BlockedError, IngestError, Reason, ResourceError, TransientError, from_os_error
from tasks.library_names import split_path

_MISSING = (FileNotFoundError, NotADirectoryError)


class Tree:
    """One library root with the rights that new files and directories get."""

    def __init__(self, settings: LibrarySettings) -> None:
        """Raises KeyError for a group that this system does not have."""
        gid = grp.getgrnam(settings.group).gr_gid if settings.group else None
        self.root: Path = settings.path
        self.rights = Rights(settings.file_mode, settings.dir_mode, gid)
        self._min_free_bytes = settings.min_free_bytes
        self._held: dict[str, int] | None = None

    @contextmanager
    def holding(self) -> Iterator[None]:
        """Open each directory once only while this lasts, which should be short: a file system in use cannot be unmounted."""
        self._held = {}
        try:
            yield
        finally:
            held, self._held = self._held, None
            for fd in held.values():
                os.close(fd)

    @contextmanager
    def directory(self, folder: str, *, make: bool = False) -> Iterator[int]:
        """A descriptor of a directory below the root ("" for the root); FileNotFoundError unless it may be made."""
        if self._held is not None and folder in self._held:
            yield self._held[folder]
            return
        fd = self._open(folder, make=make)
        if self._held is not None:
            self._held[folder] = fd
            yield fd
            return
        try:
            yield fd
        finally:
            os.close(fd)

    def _open(self, folder: str, *, make: bool) -> int:
        parts = split_path(folder) if folder else ()
        with suppress(OSError):  # the usual case, in one call
            return os.open(os.path.join(self.root, *parts), DIRECTORY)
        # Part by part: something is to be made, or the whole is too long for a path (PATH_MAX).
        with opened(os.fspath(self.root), DIRECTORY) as root_fd:
            return open_below(root_fd, parts, self.rights if make else None)

    def read(self, path: str) -> bytes | None:
        """The content of a file, None when nothing stands there; IsADirectoryError for a directory."""
        folder, name = split_last(path)
        try:
            with self.directory(folder) as dir_fd:
                return read_file(dir_fd, name)
        except _MISSING:
            return None

    def size_of(self, path: str) -> int | None:
        """The size in bytes of a regular file, None when there is none."""
        folder, name = split_last(path)
        try:
            with self.directory(folder) as dir_fd:
                facts = os.stat(name, dir_fd=dir_fd)
        except _MISSING:
            return None
        return facts.st_size if stat.S_ISREG(facts.st_mode) else None

    def write(self, path: str, content: bytes) -> None:
        """Put a whole file in place, replacing an older one, its directories made as needed; durable on return."""
        folder, name = split_last(path)
        with self.directory(folder, make=True) as dir_fd:
            write_whole(dir_fd, name, content, self.rights)

    def sync(self, folder: str) -> None:
        """Make the names in a folder durable, and whatever was renamed or removed there."""
        with self.directory(folder, make=True) as dir_fd:
            os.fsync(dir_fd)

    def unlink(self, path: str) -> None:
        """Remove a file if it can be removed."""
        folder, name = split_last(path)
        try:
            with self.directory(folder) as dir_fd:
                discard(dir_fd, name)
        except OSError:
            return

    def holds(self, path: str) -> bool:
        """Whether anything stands at that path."""
        folder, name = split_last(path)
        try:
            with self.directory(folder) as dir_fd:
                return exists(dir_fd, name)
        except _MISSING:
            return False

    def check_room(self) -> None:
        """Raise ResourceError when the library is away, read-only, not ours to write, or below `min_free`."""
        with self.trouble("look at the room in", "the library"):
            facts = os.statvfs(self.root)
        if facts.f_flag & os.ST_RDONLY:
            hint = "mount it read-write; work goes on by itself"
            raise ResourceError(Reason.READ_ONLY, f"the library {self.root} is on a read-only file system", hint)
        if not os.access(self.root, os.W_OK | os.X_OK, effective_ids=True):
            raise ResourceError(Reason.PERMISSION, f"may not write the library {self.root}", _GIVE_RIGHTS)
        free_bytes = facts.f_bavail * facts.f_frsize
        if facts.f_blocks and free_bytes < self._min_free_bytes:  # no blocks at all: a file system that does not tell
            text = f"the library {self.root} has {free_bytes} bytes free, min_free is {self._min_free_bytes}"
            raise ResourceError(Reason.NO_SPACE, text, "free some space or lower min_free; work goes on by itself")

    @contextmanager
    def trouble(self, operation: str, path: str) -> Iterator[None]:
        """Let the OSErrors of a step with the library out as what they mean for the library."""
        try:
            yield
        except OSError as error:
            raise self._meaning(error, operation, path) from error

    def _meaning(self, error: OSError, operation: str, path: str) -> IngestError:
        text = f"could not {operation} {path}: {error.strerror or error}"
        if not self.root.is_dir():
            hint = "mount or create it; work goes on by itself"
            return ResourceError(Reason.IO_ERROR, f"{text}: the library {self.root} is not there", hint)
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            # Never GoneError, which is about the inbox: somebody tidied up in the library, so the next try makes it.
            return TransientError(text)
        if error.errno in (errno.EACCES, errno.EPERM):
            return BlockedError(f"{text} in the library {self.root}", _GIVE_RIGHTS)
        return from_os_error(error, operation, path)


_GIVE_RIGHTS = "give the thumbdrop user the right to write the library and everything below it"


def folders_of(paths: Iterable[str]) -> list[str]:
    """The folders of relative paths, each once."""
    return list(dict.fromkeys(split_last(path)[0] for path in paths))


def split_last(path: str) -> tuple[str, str]:
    """(folder, name) of a relative path; the folder is "" at the top."""
    folder, _, name = path.rpartition("/")
    return folder, name
