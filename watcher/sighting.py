"""What one look at a file of an inbox tells. Plain data, so that the pure decisions need not import what touches the disk."""

from dataclasses import dataclass
from typing import Literal

# Why a look shows no candidate: nothing stands there; a link, FIFO, device, socket or directory does, or a parent is no real
# directory; rights or the file system stand in the way.
Unseen = Literal["gone", "not_regular", "unreadable"]

# Whether some process of this machine has the file open for writing; "unknown": the kernel would not tell us.
Writer = Literal["none", "open", "unknown"]


@dataclass(frozen=True, slots=True)
class Sighting:
    """One regular file as lstat(2) shows it; `path` is relative to the inbox, a `str` with surrogate escapes."""

    path: str
    size_bytes: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    uid: int
