"""Move originals out of an inbox: a rename where that is safe, else a verified copy; never onto an occupied name.

Used for the archive and for quarantine. The one thing a reader would get wrong: a rename keeps the uploader's inode,
with all its hard links and open handles, so what goes into the archive is renamed only when it is ours alone.
"""

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from tasks.durable import (
    Rights,
    copy_content,
    discard,
    exists,
    hash_of,
    opened,
    place,
    set_rights,
    temporary_name,
)
from tasks.errors import TransientError
from tasks.library_names import join_name, marked_name, split_name
from tasks.library_tree import Tree, split_last
from tasks.source import Source

ORIGINALS = "originals"


def is_ours_alone(source: Source) -> bool:
    """Whether the file is of our own uid and has no other name: nobody else can reach it once it is moved."""
    return source.stat.st_uid == os.geteuid() and source.stat.st_nlink == 1


def is_on_same_mount(source: Source, dir_fd: int) -> bool:
    """Whether a rename from the inbox to that directory can work.

    Two bind mounts of one file system (systemd's ReadWritePaths) have one st_dev and still refuse it with EXDEV.
    """
    if source.stat.st_dev != os.fstat(dir_fd).st_dev:
        return False
    return _mount_of(source.dir_fd) == _mount_of(dir_fd)


def _mount_of(fd: int) -> bytes:
    with suppress(OSError), open(f"/proc/self/fdinfo/{fd}", "rb") as facts:
        return next((line for line in facts if line.startswith(b"mnt_id:")), b"")
    return b""


@contextmanager
def copied(source: Source, dir_fd: int, rights: Rights) -> Iterator[str | None]:
    """A synced and verified copy under a hidden name, gone at the end unless it was renamed; the mtime is kept.

    None when the source changed meanwhile. Raises TransientError when the copy differs although it did not.
    """
    name = temporary_name()
    try:
        with opened(name, os.O_RDWR | os.O_CREAT | os.O_EXCL, dir_fd) as fd:
            set_rights(fd, rights.file_mode, rights.gid)
            copy_content(source.fd, fd, source.stat.st_size)
            os.utime(fd, ns=(source.stat.st_atime_ns, source.stat.st_mtime_ns))
            os.fsync(fd)
            is_same = hash_of(fd) == source.sha256()
        if is_same and source.is_unchanged():
            yield name
        elif not source.is_unchanged():
            yield None
        else:
            raise TransientError(f"the copy of {source.path} differs from it", "look for failing disks or memory")
    finally:
        discard(dir_fd, name)


def transfer(
    source: Source, dir_fd: int, rights: Rights, *, may_rename: bool, to: Callable[[int, str | None], bool]
) -> bool:
    """Bring a source into an open directory; `to(dir_fd, copy)` gives it its name there.

    `copy` is the hidden name of a verified copy, or None when the source itself is to be moved; its answer, whether
    it took place, is passed on. False also when the source changed while it was being copied.
    """
    if may_rename and is_on_same_mount(source, dir_fd):
        # Else a power cut could leave an empty file under the final name, and take the upload with it.
        source.sync()
        try:
            return to(dir_fd, None)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
    with copied(source, dir_fd, rights) as copy:
        return copy is not None and to(dir_fd, copy)


class Archive:
    """The originals of one library; `announce(path or None)` notes in the manifest where the original is to stand."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree

    def place_for(self, slot: str, source: Source) -> str:
        """Where the original is to stand: where its very bytes stand already, else under the best free name."""
        names = original_names(slot, source)
        with self._tree.directory(_folder_of(slot), make=True) as dir_fd:
            held = (name for name in names if _holds(dir_fd, name, source))
            free = (name for name in names if not exists(dir_fd, name))
            name = next(held, None) or next(free, None)
        if name is None:
            raise TransientError(f"no free name for the original of {slot}")
        return f"{_folder_of(slot)}/{name}"

    def keep(
        self, slot: str, source: Source, recorded: str | None, announce: Callable[[str | None], None]
    ) -> str | None:
        """Move the original to its place and return that; None when it was changed, replaced or gone before.

        `recorded` is what the manifest says. Announced first, moved second: a crash in between leaves the file in the
        inbox, where the next try finds it, while the other order would leave a manifest that does not know its
        original, and nobody to try again. Its folder is still to be synced.
        """
        with self._tree.directory(_folder_of(slot), make=True) as dir_fd:
            there = self._archived(slot, source, dir_fd, recorded)
            if there is not None:
                announce(there)
                source.remove()
                return there
            if source.is_unchanged() and source.stands():
                there = self._bring(slot, source, dir_fd, announce)
            if there is None:
                # Another worker at the same file may have been faster; its word in the manifest may be lost under ours.
                there = self._archived(slot, source, dir_fd, recorded)
                announce(there)
        return there

    def _bring(self, slot: str, source: Source, dir_fd: int, announce: Callable[[str | None], None]) -> str | None:
        placed: list[str] = []

        def name_it(dir_fd: int, copy: str | None) -> bool:
            for name in original_names(slot, source):
                if not exists(dir_fd, name):
                    announce(f"{_folder_of(slot)}/{name}")
                    with suppress(FileExistsError):
                        placed.append(name)
                        return _put(source, dir_fd, name, copy, self._tree.rights)
                if _holds(dir_fd, name, source):  # another worker was faster
                    announce(f"{_folder_of(slot)}/{name}")
                    placed.append(name)
                    source.remove()
                    return True
            raise TransientError(f"no free name for the original of {slot}")

        try:
            if transfer(source, dir_fd, self._tree.rights, may_rename=is_ours_alone(source), to=name_it):
                return f"{_folder_of(slot)}/{placed[-1]}"
        except BaseException:
            # It may stand there already, and only its removal from the inbox have come to no known end.
            if not (placed and _holds(dir_fd, placed[-1], source)):
                announce(None)
            raise
        return None

    def _archived(self, slot: str, source: Source, dir_fd: int, recorded: str | None) -> str | None:
        """Where the very bytes of the source stand already: as the manifest says, or under a name it would get."""
        if recorded is not None and self._is_at(recorded, source):
            return recorded
        found = (name for name in original_names(slot, source) if _holds(dir_fd, name, source))
        name = next(found, None)
        return None if name is None else f"{_folder_of(slot)}/{name}"

    def _is_at(self, path: str, source: Source) -> bool:
        folder, name = split_last(path)
        try:
            with self._tree.directory(folder) as dir_fd:
                return _holds(dir_fd, name, source)
        except (FileNotFoundError, NotADirectoryError):
            return False


def _folder_of(slot: str) -> str:
    return f"{ORIGINALS}/{split_last(slot)[0]}"


def _holds(dir_fd: int, name: str, source: Source) -> bool:
    """Whether the very bytes of the source stand under that name; they are read only where the size is the same."""
    try:
        facts = os.stat(name, dir_fd=dir_fd)
    except FileNotFoundError:
        return False
    if not stat.S_ISREG(facts.st_mode) or facts.st_size != source.stat.st_size:
        return False
    with opened(name, os.O_RDONLY, dir_fd) as fd:
        return hash_of(fd) == source.sha256()


def original_names(slot: str, source: Source) -> list[str]:
    """The names an original may get, best first: the slot's stem with the file's own suffix, then with its hash."""
    suffix = split_name(source.name)[1]
    name = join_name(split_last(slot)[1], suffix)
    return [name, *(marked_name(name, source.sha256()[:digits]) for digits in (8, 16, 32, 64))]


def _put(source: Source, dir_fd: int, name: str, copy: str | None, rights: Rights) -> bool:
    if copy is None:
        if not source.move_into(dir_fd, name):
            return False
        set_rights(source.fd, rights.file_mode, rights.gid)
        return True
    place(dir_fd, copy, dir_fd, name)
    os.fsync(dir_fd)
    # Changed or gone by now: it stays, and what was archived is still the very image that the thumbnails show.
    source.remove()
    return True
