"""One inotify instance and the thread that reads it: watchdog's, made to survive what its bookkeeping does not expect.

watchdog 7.1.0 tells an application nothing of an overflow, of directories without a watch, of a root that went away; so its private
classes are refined here, in inotify_watches.py and in inotify_emitter.py, for exactly this version (a test and pyproject.toml pin
it): its reader thread and its bookkeeping of watches are used, its event queue, which is unbounded, and its dispatcher, which an
exception ends, are not. What a reader would get wrong: a failure here is reported and never raised, for the thread has no caller.
"""

import contextlib
import ctypes
import errno
import os
from collections.abc import Callable

from watchdog.observers import inotify_c
from watchdog.observers.inotify_c import InotifyEvent, InotifyFD, Mask, Watch, WatchDescriptor

_JOIN_SECONDS = 3.0


class Reader(InotifyFD):
    """The inotify instance and the thread that reads it; survives what watchdog's own bookkeeping does not expect."""

    def __init__(self, report_failure: Callable[[str], None]) -> None:
        super().__init__()
        self._report_failure = report_failure
        self._descriptors = [self._inotify_fd, self._kill_r, self._kill_w]

    def run(self) -> None:
        """Read until the end; what ends it early is reported."""
        try:
            super().run()
        except OSError as error:
            self._report_failure(f"reading events: {error.strerror}")

    def discard(self) -> None:
        """End the thread and give everything back, whatever state it is in."""
        with contextlib.suppress(Exception):  # its bookkeeping may be what broke
            self.stop()
        if self.is_alive():
            self.join(_JOIN_SECONDS)
        if not self.is_alive():
            self._close_resources()

    def _close_resources(self) -> None:
        # Unlike watchdog's, once only, and also after the thread failed; the kernel drops the watches with the descriptor.
        while self._descriptors:
            with contextlib.suppress(OSError):
                os.close(self._descriptors.pop())

    def _read_event_buffer(self, event_buffer_size: int) -> bytes:
        # watchdog's own, having lost its descriptor, reads on and on and gets nothing.
        read = super()._read_event_buffer(event_buffer_size)
        if not read and not self._closed:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        return read

    def handle_event(self, event: InotifyEvent) -> None:
        """Pass an event on; whatever fails there is reported."""
        try:
            super().handle_event(event)
        except Exception as error:  # noqa: BLE001 - the thread must live; everything is armed anew
            self._report_failure(f"{type(error).__name__}: {error}")

    def _get_or_create_watch(self, path: bytes, mask: Mask) -> Watch:
        # Unlike watchdog's, raises for EACCES too: that one files the directory under descriptor -1.
        wd = inotify_c.inotify_add_watch(self._inotify_fd, path, mask)
        if wd == -1:
            code = ctypes.get_errno()
            text = "inotify watch limit reached" if code == errno.ENOSPC else os.strerror(code)
            raise OSError(code, text, os.fsdecode(path))
        return self._watch_for_wd.setdefault(wd, Watch(wd, mask, path))

    def _add_callback(
        self, path: bytes, mask: Mask, callback: inotify_c.WatchCallback, id_: inotify_c.CallbackId
    ) -> WatchDescriptor:
        # Unlike watchdog's, does not warn of a directory that is watched already: that is so after every race and overflow.
        watch = self._get_or_create_watch(path, mask)
        watch.callbacks[id_] = callback
        return watch.wd
