"""The file in the inbox: opened so that no name leads astray, taken away only if it is still the file that was read.

The uploader owns everything here (invariant 9): any name may become a link, another file or nothing between two
system calls. So every step works on open directory descriptors, a file is recognised by device and inode, and it
leaves the inbox by a rename, which cannot hit another file unnoticed, and never by an unlink of its public name.
The one thing a reader would get wrong: whatever is moved and turns out to be another file goes back.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from tasks.durable import DIRECTORY, exists, hash_of, place, rename_exclusive, start_storing
from tasks.errors import GoneError, IngestError, TransientError, from_os_error
from tasks.inbox_trouble import NO_ROOM, REFUSED, may_write, meaning_of
from tasks.leftovers import put_back, put_back_leftovers, removing_name
from tasks.library_names import split_path
from tasks.writers import has_writer

__all__ = ["Source", "is_same_mtime", "open_source", "put_back_leftovers"]

_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Source:
    """One regular file of an inbox, open for reading, and the open directory that it stands in.

    `stat` is as at opening; `path` is relative to the inbox. Made by `open_source`; a context manager.
    """

    is_alone = False  # whether no other one of its inbox may be open beside it

    def __init__(self, path: str, dir_fd: int, fd: int) -> None:
        self.path = path
        self.name = path.rpartition("/")[2]
        self.dir_fd = dir_fd
        self.stat = os.fstat(fd)
        self.file: BinaryIO = os.fdopen(fd, "rb")
        self._ctime_ns = self.stat.st_ctime_ns
        self._sha256: str | None = None
        self._is_synced = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file and its directory; closing twice is no harm."""
        self.file.close()
        if self.dir_fd >= 0:
            os.close(self.dir_fd)
        self.dir_fd = -1

    @property
    def fd(self) -> int:
        """The descriptor of the open file."""
        return self.file.fileno()

    def sha256(self) -> str:
        """The hex sha256 of the content, read once and remembered; the position of `file` is not moved.

        Says something about the content only together with `is_unchanged()` afterwards.
        """
        if self._sha256 is None:
            with self._trouble("read"):
                self._sha256 = hash_of(self.fd, self.stat.st_size + 1)
        return self._sha256

    def is_unchanged(self) -> bool:
        """Whether the open file is as it was at opening (size, mtime, ctime); ctime is the sign no client can set."""
        with self._trouble("look at"):
            now = os.fstat(self.fd)
        return _has_same_content(now, self.stat) and now.st_ctime_ns == self._ctime_ns

    def start_sync(self) -> None:
        """Let the disk begin with the content, so that `sync` has little to wait for by the time the picture is made."""
        start_storing(self.fd)

    def sync(self) -> None:
        """Have the content on the disk, once: clients (cp, rsync, SFTP servers) leave it in the page cache for half a minute."""
        if not self._is_synced:
            with self._trouble("sync"):
                os.fsync(self.fd)
            self._is_synced = True

    def has_writer(self) -> bool:
        """Whether a program is seen to have it open for writing; see tasks/writers.py for what cannot be seen."""
        return has_writer(self.fd)

    def stands(self) -> bool:
        """Whether the name still leads to this very file."""
        try:
            there = os.stat(self.name, dir_fd=self.dir_fd, follow_symlinks=False)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise self._meaning(error, "look at") from error
        return os.path.samestat(there, self.stat)

    def remove(self) -> bool:
        """Delete the file from the inbox; False when it was changed, replaced or gone, and then nothing is touched.

        The last thing that is done with a source: its file is closed then.

        Limits: a writer that has it open already, and writes after the last look, writes into a deleted file.
        """
        if not (self.is_unchanged() and self.stands()):
            return False
        with self._trouble("remove"):
            try:
                return self._remove_aside()
            except FileNotFoundError:
                return False
            except OSError as error:
                if error.errno not in NO_ROOM:
                    raise
                # A full inbox must be possible to empty: without room for a directory the last look has to do.
                return self._remove_directly()

    def move_into(self, target_fd: int, target: str) -> bool:
        """Move the file to a free name in an open directory of the same file system.

        False when it was changed, replaced or gone, and then nothing is touched. Raises BlockedError when the inbox
        does not let it go, FileExistsError when the target is taken, and OSError for the other troubles of the target:
        EXDEV when it is on another file system or behind another mount. Neither directory is synced.
        """
        if not (self.is_unchanged() and self.stands()):
            return False
        try:
            rename_exclusive(self.dir_fd, self.name, target_fd, target)
        except NotImplementedError:
            return self._move_aside_into(target_fd, target)
        except FileNotFoundError:
            if self.stands():
                raise  # it is the target's directory that is gone
            return False
        except OSError as error:
            if error.errno in REFUSED and may_write(target_fd):
                raise self._meaning(error, "move") from error
            raise
        if self._is_this(target_fd, target):
            return True
        put_back(target_fd, target, self.dir_fd, self.name)
        return False

    def _move_aside_into(self, target_fd: int, target: str) -> bool:
        # Without renameat2 (NFS) a plain rename could hit an occupied target, and link + unlink of the public name
        # could unlink a file that was uploaded in between; from a directory of our own neither can happen.
        with self._aside() as aside_fd:
            if aside_fd is None:
                return False
            place(aside_fd, self.name, target_fd, target)
            return True

    def _remove_aside(self) -> bool:
        with self._aside() as aside_fd:
            if aside_fd is None:
                return False
            # NFS and sshfs keep what is deleted while it is open, under a hidden name, and the directory with it.
            self.file.close()
            os.unlink(self.name, dir_fd=aside_fd)
            return True

    def _remove_directly(self) -> bool:
        if self.file.closed or not (self.is_unchanged() and self.stands()):
            return False
        try:
            os.unlink(self.name, dir_fd=self.dir_fd)
        except FileNotFoundError:
            return False
        return True

    @contextmanager
    def _aside(self) -> Iterator[int | None]:
        """The file in a hidden directory beside it, out of the uploader's reach; None when it was another file.

        What still stands there at the end, or after an error, goes back; after a crash `put_back_leftovers` does it.
        """
        hidden = removing_name()
        os.mkdir(hidden, 0o700, dir_fd=self.dir_fd)
        aside_fd = os.open(hidden, DIRECTORY | os.O_NOFOLLOW, dir_fd=self.dir_fd)
        try:
            os.rename(self.name, self.name, src_dir_fd=self.dir_fd, dst_dir_fd=aside_fd)
            yield aside_fd if self._is_this(aside_fd, self.name) else None
        finally:
            if exists(aside_fd, self.name):
                is_this = self._is_this(aside_fd, self.name)
                put_back(aside_fd, self.name, self.dir_fd, self.name)
                if is_this and not self.file.closed:  # our own renames are no change of the file
                    self._ctime_ns = os.fstat(self.fd).st_ctime_ns
            os.close(aside_fd)
            with suppress(OSError):
                os.rmdir(hidden, dir_fd=self.dir_fd)

    def _is_this(self, dir_fd: int, name: str) -> bool:
        # The rename itself has moved the ctime, so only size and mtime can tell whether somebody wrote meanwhile.
        there = os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
        now = there if self.file.closed else os.fstat(self.fd)
        return os.path.samestat(there, self.stat) and _has_same_content(now, self.stat)

    @contextmanager
    def _trouble(self, operation: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise self._meaning(error, operation) from error

    def _meaning(self, error: OSError, operation: str) -> IngestError:
        return meaning_of(error, operation, self.path, self.dir_fd, self.name)


def is_same_mtime(one_ns: int, other_ns: int) -> bool:
    """Whether two mtimes are the same at the coarser granularity of the two.

    The same file has whole seconds through sshfs, 100 ns through SMB and 1 ns on ext4.
    """
    for grain_ns in (10**9, 10**6, 10**3, 100):
        if one_ns % grain_ns == 0 or other_ns % grain_ns == 0:
            return one_ns // grain_ns == other_ns // grain_ns
    return one_ns == other_ns


def open_source(root: Path, path: str) -> Source:
    """Open the file at `path` below the inbox root, following no link on the way.

    Raises GoneError when nothing stands there, or nothing that may be taken (a link, FIFO, socket, device, directory,
    or a path that leads out of the inbox): such things are left exactly where they are, and since the watcher counts
    and passes over them, looking again ends the matter. BlockedError names the mode and the owner in the way.
    """
    try:
        *folders, name = split_path(path)
    except ValueError as error:
        raise GoneError(f"could not open {path!r}: it does not lead below the inbox") from error
    dir_fd = _open_root(root)
    try:
        for folder in folders:
            dir_fd = _step(dir_fd, folder, path)
        return Source(path, dir_fd, _open_file(dir_fd, name, path))
    except BaseException:
        os.close(dir_fd)
        raise


def _open_root(root: Path) -> int:
    try:
        return os.open(root, DIRECTORY | os.O_NOFOLLOW)
    except (FileNotFoundError, NotADirectoryError) as error:
        # Not GoneError: an inbox that is away (unmounted) says nothing about its files.
        raise TransientError(f"could not open the inbox {root}: {error.strerror}", "mount or create it") from error
    except OSError as error:
        raise from_os_error(error, "open the inbox", str(root)) from error


def _step(dir_fd: int, folder: str, path: str) -> int:
    try:
        below = os.open(folder, DIRECTORY | os.O_NOFOLLOW, dir_fd=dir_fd)
    except OSError as error:
        raise meaning_of(error, "open", path, dir_fd, folder) from error
    os.close(dir_fd)
    return below


def _open_file(dir_fd: int, name: str, path: str) -> int:
    try:
        # Looked at first, because opening a device or a FIFO may already do something.
        _require_regular(os.stat(name, dir_fd=dir_fd, follow_symlinks=False), path)
        fd = os.open(name, _FILE, dir_fd=dir_fd)
    except OSError as error:
        raise meaning_of(error, "open", path, dir_fd, name) from error
    try:
        _require_regular(os.fstat(fd), path)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _require_regular(facts: os.stat_result, path: str) -> None:
    if not stat.S_ISREG(facts.st_mode):
        raise GoneError(f"could not open {path}: it is not a regular file, so it is left alone")


def _has_same_content(now: os.stat_result, then: os.stat_result) -> bool:
    return (now.st_ino, now.st_size, now.st_mtime_ns) == (then.st_ino, then.st_size, then.st_mtime_ns)
