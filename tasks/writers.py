"""Asks the kernel whether somebody still has a file open for writing: the last question before it is set aside.

The watcher asks the same before it publishes (watcher/writers.py), but a client may have come back since. A read lease
(fcntl(2), F_SETLEASE) is granted only while nobody has the file open for writing; it is given back at once. What a
reader would get wrong: the kernel's word against a lease is SIGIO, which by default kills the process, so another
signal, whose default is nothing, takes its place.
"""

import errno
import fcntl
import re
import signal
from contextlib import suppress
from pathlib import Path

# Their servers give leases, or refuse them, for reasons of their own.
_ASKED_ELSEWHERE = ("nfs4", "cifs", "smb3", "ceph", "afs", "gfs2", "ocfs2")


def has_writer(fd: int) -> bool:
    """Whether a process of this machine has the file behind this read-only descriptor open for writing.

    False also where the kernel will not tell: for another user's file (without CAP_LEASE), and on network file systems.

    Limits: an opener with O_NONBLOCK that comes in the microseconds of the lease gets EWOULDBLOCK; others wait them out.
    """
    fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGURG)
    try:
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        return error.errno == errno.EAGAIN and _type_of_mount(fd) not in _ASKED_ELSEWHERE
    fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return False


def _type_of_mount(fd: int) -> str:
    """The type of the file system that an open file is on, "" when /proc does not say (proc_pid_mountinfo(5))."""
    with suppress(OSError):
        mount = re.search(rb"^mnt_id:\s*(\d+)$", Path(f"/proc/self/fdinfo/{fd}").read_bytes(), re.MULTILINE)
        mounts = Path("/proc/self/mountinfo").read_bytes()
        line = mount and re.search(rb"^%s .*? - (\S+) " % mount[1], mounts, re.MULTILINE)
        return line[1].decode() if line else ""
    return ""
