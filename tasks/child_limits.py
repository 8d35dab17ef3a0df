"""What a worker's child may not do at all, and what one image may take of it: limits that the kernel keeps.

They are the second line, for what the header did not tell: tasks/header.py refuses what a file admits to. An image that
asks for more address space gets a MemoryError or the decoder's own word for it; one that uses up its processor time
ends its child by SIGXCPU (tasks/lost_child.py names it), because no decoder written in C can be interrupted otherwise.
"""

import ctypes
import math
import os
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager

# Beside the picture: decoders' libraries that are loaded late, their threads' stacks and arenas, the thumbnails. Address
# space is not memory: with this much to spare, no image that its header allowed was seen to want for any.
SPARE_BYTES = 1_000_000_000

_PR_SET_NO_NEW_PRIVS = 38  # prctl(2)
_STATM_UNIT_BYTES = resource.getpagesize()


def harden_child() -> None:
    """Take from this process, for good, what decoding never needs: other programs, privileges, core dumps.

    A decoder that looks for a program (Ghostscript, cjpeg) finds none; a program that is started all the same gains no
    rights by its set-uid bit. A core dump of a hostile picture would only fill the disk. Raises OSError when the kernel
    refuses (it is older than 3.5).
    """
    os.environ["PATH"] = "/nonexistent"  # an empty one would mean the current directory
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(
        signal.SIGALRM, signal.SIG_DFL
    )  # what an image's time ends by (tasks/batch_pool.py), whatever was inherited
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_NO_NEW_PRIVS)")


@contextmanager
def one_images_limits(memory_bytes: int, cpu_seconds: float) -> Iterator[None]:
    """Let what happens inside take so much more memory and processor time than this process has taken already.

    Processor time is counted by the process and by whole seconds, in all threads: hence from here, and rounded up. Only the soft
    limits are set, and given back afterwards: moving an original takes what it takes.
    """
    used = resource.getrusage(resource.RUSAGE_SELF)
    allowed_seconds = math.ceil(used.ru_utime + used.ru_stime + cpu_seconds)
    allowed_bytes = _address_space_bytes() + memory_bytes + SPARE_BYTES
    with _lowered(resource.RLIMIT_AS, allowed_bytes), _lowered(resource.RLIMIT_CPU, allowed_seconds):
        yield


@contextmanager
def _lowered(which: int, limit: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(which)
    lower = [bound for bound in (limit, soft, hard) if bound != resource.RLIM_INFINITY]
    resource.setrlimit(which, (min(lower), hard))
    try:
        yield
    finally:
        resource.setrlimit(which, (soft, hard))


def _address_space_bytes() -> int:
    with open("/proc/self/statm", "rb") as statm:
        return int(statm.read().split()[0]) * _STATM_UNIT_BYTES
