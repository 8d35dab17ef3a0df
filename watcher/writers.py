"""Asks the kernel whether a local process still has a file open for writing: the read-lease test of fcntl(2).

F_SETLEASE with F_RDLCK is granted only while nobody has the file open for writing, a shared writable mapping included; it is
asked for and given back at once. The kernel grants it for files of our own uid, or with CAP_LEASE (which is refused inside a
user namespace). What a reader would get wrong: without `ignore_sigio()` a writer that opens the file in that very moment kills us,
and on network file systems EAGAIN says nothing: do not ask there.
"""

import errno
import fcntl
import os
import signal

from watcher.sighting import Sighting, Unseen, Writer
from watcher.walk import open_parent, sighting_of, why_unseen

_OPEN_FILE = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_NOCTTY | os.O_CLOEXEC


def ignore_sigio() -> None:
    """Ignore SIGIO, by which the kernel tells that a lease must go; to be called once at start, from the main thread."""
    signal.signal(signal.SIGIO, signal.SIG_IGN)


def writer_of(root: str, path: str) -> Writer:
    """Tell whether somebody has the file open for writing; "unknown" for what is gone or not regular, too."""
    return see_with_writer(root, path)[1]


def see_with_writer(root: str, path: str) -> tuple[Sighting | Unseen, Writer]:
    """Look at one file and at its writers in one moment: the facts are read while the lease is held. Never raises OSError.

    A file that we may not open is still seen, with an unknown writer.

    Limits: an opener with O_NONBLOCK that comes in the microseconds of the lease gets EWOULDBLOCK; any other waits them out.
    """
    try:
        parent, name = open_parent(root, path)
    except OSError as error:
        return why_unseen(error), "unknown"
    try:
        seen = sighting_of(path, os.stat(name, dir_fd=parent, follow_symlinks=False))
        if not isinstance(seen, Sighting):
            return seen, "unknown"  # not opened: opening a FIFO or a device does something to it
        return _see_open(parent, name, seen)
    except OSError as error:
        return why_unseen(error), "unknown"
    finally:
        os.close(parent)


def _see_open(parent: int, name: str, seen: Sighting) -> tuple[Sighting | Unseen, Writer]:
    try:
        descriptor = os.open(name, _OPEN_FILE, dir_fd=parent)
    except PermissionError:
        return seen, "unknown"
    try:
        writer = _take_lease(descriptor)
        now = sighting_of(seen.path, os.fstat(descriptor))
        if writer == "none":
            fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
        return now, writer
    finally:
        os.close(descriptor)


def _take_lease(descriptor: int) -> Writer:
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        return "open" if error.errno == errno.EAGAIN else "unknown"
    return "none"
