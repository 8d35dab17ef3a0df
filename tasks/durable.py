"""Single steps of writing so that a crash or a power cut leaves nothing or the whole, never a part.

Everything works on open directory descriptors, so no path is too long and nobody can swap a directory under our feet.
The steps raise plain OSError; whoever knows what was being done maps it. The one thing a reader would get wrong:
a rename is durable only after the *directory* is synced, and the content only if the file was synced *before* it.
"""

import ctypes
import errno
import fcntl
import hashlib
import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
TEMPORARY = re.compile(r"\.thumbdrop-[0-9a-f]{16}\.tmp")
_CHUNK_BYTES = 1 << 20
_RENAME_NOREPLACE = 1
_SYNC_FILE_RANGE_WRITE = 2
_FICLONE = 0x40049409  # linux/fs.h: share the blocks of another file (btrfs, XFS, bcachefs)
# How file systems say "I have no such operation"; EPERM is what link() says on FAT and on many FUSE ones.
_UNSUPPORTED = (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOTTY)
_NO_LINKS = (*_UNSUPPORTED, errno.EPERM, errno.EACCES, errno.EMLINK, errno.EXDEV)

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Rights:
    """What new files and directories get, whatever the umask; `gid` None leaves the group alone."""

    file_mode: int
    dir_mode: int
    gid: int | None = None


def temporary_name() -> str:
    """A hidden name of our own that nobody else uses; `TEMPORARY` recognises it."""
    return f".thumbdrop-{secrets.token_hex(8)}.tmp"


@contextmanager
def opened(name: str, flags: int, dir_fd: int | None = None, mode: int = 0o600) -> Iterator[int]:
    """A descriptor that is closed at the end."""
    fd = os.open(name, flags | os.O_CLOEXEC, mode, dir_fd=dir_fd)
    try:
        yield fd
    finally:
        os.close(fd)


def read_file(dir_fd: int, name: str) -> bytes:
    """The whole content of a small file; a last part that is a link is not followed, and a FIFO does not hold us up."""
    with (
        opened(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd) as fd,
        os.fdopen(fd, "rb", closefd=False) as file,
    ):
        return file.read()


def hash_of(fd: int, max_bytes: int | None = None) -> str:
    """The sha256 of an open file as hex, without moving its position; at most `max_bytes` are read.

    The limit is for files that others may be growing: without it a fast writer would keep us here for ever.
    """
    digest, offset = hashlib.sha256(), 0
    while max_bytes is None or offset < max_bytes:
        wanted = _CHUNK_BYTES if max_bytes is None else min(_CHUNK_BYTES, max_bytes - offset)
        chunk = os.pread(fd, wanted, offset)
        if not chunk:
            break
        digest.update(chunk)
        offset += len(chunk)
    return digest.hexdigest()


def set_rights(fd: int, mode: int, gid: int | None) -> None:
    """Give an open file or directory of our own its mode and group.

    A refused mode is let pass: we own the thing, so only a file system without modes (FAT, SMB) says no. A refused
    group comes out, because it was asked for and a web server would miss it. An inherited setgid bit stays.
    """
    facts = os.fstat(fd)
    if gid is not None and facts.st_gid != gid:
        os.fchown(fd, -1, gid)
    if stat.S_IMODE(facts.st_mode) & 0o777 != mode:
        with suppress(PermissionError, NotImplementedError):
            os.fchmod(fd, mode | (facts.st_mode & stat.S_ISGID))


def open_temporary(dir_fd: int) -> tuple[int, str]:
    """A new file of our own under a hidden name, open for writing: (descriptor, name)."""
    name = temporary_name()
    return os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=dir_fd), name


def start_storing(fd: int) -> None:
    """Let the disk begin with what was written, without waiting: sync_file_range(2). Makes nothing durable.

    The content of several files is then on its way together, and one commit of the journal (ext4) has all of them.
    """
    call = getattr(_libc, "sync_file_range", None)
    if call is not None:  # a kernel or file system that does not know it waits in fsync a little longer
        call(fd, ctypes.c_int64(0), ctypes.c_int64(0), ctypes.c_uint(_SYNC_FILE_RANGE_WRITE))


def write_temporary(dir_fd: int, content: bytes, rights: Rights, *, sync: bool = True) -> str:
    """Write a finished file under a hidden name and return that name; on failure nothing is left."""
    name = temporary_name()
    try:
        with opened(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, dir_fd) as fd:
            set_rights(fd, rights.file_mode, rights.gid)
            write_all(fd, content)
            if sync:
                os.fsync(fd)
    except BaseException:
        discard(dir_fd, name)
        raise
    return name


def write_all(fd: int, content: bytes | memoryview) -> None:
    """Write everything: a single write() may stop short (signals, a disk that fills up)."""
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(fd, rest) :]


def write_whole(dir_fd: int, name: str, content: bytes, rights: Rights) -> None:
    """Put a whole file in place, replacing an older one; durable on return."""
    temporary = write_temporary(dir_fd, content, rights)
    try:
        os.rename(temporary, name, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
    except BaseException:
        discard(dir_fd, temporary)
        raise
    os.fsync(dir_fd)


def create_whole(dir_fd: int, name: str, content: bytes, rights: Rights, *, sync: bool = True) -> None:
    """Create a file exclusively and with its whole content; FileExistsError when the name is taken.

    Limits: where hard links are unsupported the content follows the name a moment later, so a reader may see it empty.
    """
    temporary = write_temporary(dir_fd, content, rights, sync=sync)
    try:
        os.link(temporary, name, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        with opened(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, dir_fd, rights.file_mode) as fd:
            write_all(fd, content)
    finally:
        discard(dir_fd, temporary)


def discard(dir_fd: int, name: str) -> None:
    """Unlink a file of ours; that it is gone already, or cannot be removed just now, is no trouble."""
    with suppress(OSError):
        os.unlink(name, dir_fd=dir_fd)


def exists(dir_fd: int, name: str) -> bool:
    """Whether anything at all stands under that name, a dangling link included."""
    try:
        os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def rename_exclusive(source_fd: int, source: str, target_fd: int, target: str) -> None:
    """Rename in one step, never onto an occupied name: renameat2(2) with RENAME_NOREPLACE.

    Raises FileExistsError when the target is taken, NotImplementedError where the file system has no such operation.
    """
    call = getattr(_libc, "renameat2", None)
    if call is None:
        raise NotImplementedError("renameat2")
    if call(source_fd, os.fsencode(source), target_fd, os.fsencode(target), _RENAME_NOREPLACE) == 0:
        return
    number = ctypes.get_errno()
    if number in _UNSUPPORTED:
        raise NotImplementedError("renameat2 with RENAME_NOREPLACE")
    raise OSError(number, os.strerror(number), source, None, target)


def place(source_fd: int, source: str, target_fd: int, target: str) -> None:
    """Rename something that only we can reach, never onto an occupied name (FileExistsError).

    Not for names in an inbox: where renameat2 is missing (NFS, old FUSE) this is link and unlink, and an uploader
    could put another file under the name in between. Limits: with neither, an occupied target is looked for first.
    """
    try:
        rename_exclusive(source_fd, source, target_fd, target)
    except NotImplementedError:
        _place_by_link(source_fd, source, target_fd, target)


def _place_by_link(source_fd: int, source: str, target_fd: int, target: str) -> None:
    try:
        os.link(source, target, src_dir_fd=source_fd, dst_dir_fd=target_fd, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if exists(target_fd, target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target) from None
        os.rename(source, target, src_dir_fd=source_fd, dst_dir_fd=target_fd)
    else:
        os.unlink(source, dir_fd=source_fd)


def copy_content(source_fd: int, target_fd: int, size_bytes: int) -> None:
    """Copy the first `size_bytes` of an open file, sharing blocks where the file system can."""
    with suppress(OSError):
        fcntl.ioctl(target_fd, _FICLONE, source_fd)
        return
    offset = 0
    with suppress(OSError):  # whatever copy_file_range cannot do, the plain copy below goes on with
        while offset < size_bytes:
            copied = os.copy_file_range(source_fd, target_fd, min(size_bytes - offset, 1 << 30), offset, offset)
            if copied == 0:
                break
            offset += copied
    _copy_plainly(source_fd, target_fd, offset, size_bytes)


def _copy_plainly(source_fd: int, target_fd: int, offset: int, size_bytes: int) -> None:
    os.lseek(target_fd, offset, os.SEEK_SET)
    while offset < size_bytes:
        chunk = os.pread(source_fd, min(_CHUNK_BYTES, size_bytes - offset), offset)
        if not chunk:
            return
        write_all(target_fd, chunk)
        offset += len(chunk)


def open_below(dir_fd: int, parts: tuple[str, ...], rights: Rights | None = None, flags: int = 0) -> int:
    """A new descriptor of the directory below `dir_fd`, missing ones made (and synced) when `rights` are given.

    `flags` are added to every opening (O_NOFOLLOW in an inbox; in the library the operator may use links).
    """
    fd = os.dup(dir_fd)
    try:
        for part in parts:
            below = _open_or_make(fd, part, rights, flags)
            os.close(fd)
            fd = below
    except BaseException:
        os.close(fd)
        raise
    return fd


def _open_or_make(dir_fd: int, name: str, rights: Rights | None, flags: int) -> int:
    try:
        return os.open(name, DIRECTORY | flags, dir_fd=dir_fd)
    except FileNotFoundError:
        if rights is None:
            raise
    made = False
    with suppress(FileExistsError):
        os.mkdir(name, rights.dir_mode, dir_fd=dir_fd)
        made = True
    fd = os.open(name, DIRECTORY | flags, dir_fd=dir_fd)
    if made:
        _finish_directory(fd, dir_fd, rights)
    return fd


def _finish_directory(fd: int, parent_fd: int, rights: Rights) -> None:
    try:
        set_rights(fd, rights.dir_mode, rights.gid)
        os.fsync(parent_fd)
    except BaseException:
        os.close(fd)
        raise
