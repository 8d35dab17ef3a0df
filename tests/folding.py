"""A file system that takes names for equal when they differ only in case or in Unicode normal form, as SMB and APFS do.

python folding.py BACKING MOUNT       (a pass-through by FUSE; every name is kept in BACKING as it is compared)
"""
# ruff: noqa: ARG002  # the arguments are those of FUSE

import os
import sys
import time
import unicodedata
from typing import Any

from mfusepy import FUSE, Operations

_STAT = ("mode", "nlink", "size", "uid", "gid", "ino")
_TIMES = ("atime", "mtime", "ctime")
_ROOM = ("bavail", "bfree", "blocks", "bsize", "favail", "ffree", "files", "flag", "frsize", "namemax")


class Folding(Operations):  # type: ignore[misc]  # mfusepy ships no types
    """The operations that a library needs."""

    use_ns = True

    def __init__(self, backing: str) -> None:
        self._backing = backing

    def _at(self, path: str) -> str:
        return self._backing + unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())

    def getattr(self, path: str, fh: int | None = None) -> dict[str, int]:
        facts = os.lstat(self._at(path)) if fh is None else os.fstat(fh)
        found = {f"st_{name}": getattr(facts, f"st_{name}") for name in _STAT}
        return found | {f"st_{name}": getattr(facts, f"st_{name}_ns") for name in _TIMES}

    def statfs(self, path: str) -> dict[str, int]:
        facts = os.statvfs(self._at(path))
        return {f"f_{name}": getattr(facts, f"f_{name}") for name in _ROOM}

    def readdir(self, path: str, fh: int) -> list[str]:
        return [".", "..", *os.listdir(self._at(path))]

    def create(self, path: str, mode: int, fi: Any = None) -> int:
        return os.open(self._at(path), os.O_RDWR | os.O_CREAT | os.O_EXCL, mode)  # the kernel has looked before

    def open(self, path: str, flags: int) -> int:
        return os.open(self._at(path), flags & ~os.O_CREAT)

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        return os.pread(fh, size, offset)

    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        return os.pwrite(fh, data, offset)

    def truncate(self, path: str, length: int, fh: int | None = None) -> None:
        os.truncate(self._at(path), length)

    def fsync(self, path: str, datasync: int, fh: int) -> None:
        os.fsync(fh)

    def release(self, path: str, fh: int) -> None:
        os.close(fh)

    def rename(self, old: str, new: str) -> None:
        os.rename(self._at(old), self._at(new))

    def link(self, target: str, source: str) -> None:
        os.link(self._at(source), self._at(target))

    def unlink(self, path: str) -> None:
        os.unlink(self._at(path))

    def mkdir(self, path: str, mode: int) -> None:
        os.mkdir(self._at(path), mode)

    def rmdir(self, path: str) -> None:
        os.rmdir(self._at(path))

    def chmod(self, path: str, mode: int) -> None:
        os.chmod(self._at(path), mode)

    def chown(self, path: str, uid: int, gid: int) -> None:
        os.chown(self._at(path), uid, gid)

    def utimens(self, path: str, times: tuple[int, int] | None = None) -> None:
        os.utime(self._at(path), ns=times or (time.time_ns(), time.time_ns()))


if __name__ == "__main__":
    FUSE(Folding(sys.argv[1]), sys.argv[2], foreground=True, nothreads=False, entry_timeout=0, negative_timeout=0)
