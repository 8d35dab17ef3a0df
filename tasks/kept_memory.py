"""Keep the memory that one picture gave back for the next, instead of giving it to the kernel and asking for it again.

New memory has to be cleared by the kernel, page by page: for a thumbnail of 1280 pixels and its colours that took as long as
resizing it. The GNU C library gives back what lies at the end of its heap, and does so all the time with pictures, which are
made and dropped one after the other. Other libraries have no such setting, and need none here: it only saves time.
"""

import ctypes

# mallopt(3). What is larger than the second gets memory of its own, and gives it back at once.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEPT_BYTES = 32 << 20


def keep_memory() -> None:
    """Let this process keep up to 32 MB, if its C library can."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt:
        mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
        mallopt(_M_MMAP_THRESHOLD, _KEPT_BYTES)
