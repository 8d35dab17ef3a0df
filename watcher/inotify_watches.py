"""The watches of one inbox: which directories have one, what is known to be without, and which two events are one move.

Refines private classes of watchdog, see inotify_reader.py. What a reader would get wrong: a watch belongs to a directory and not to
a path, so after a move the path of a watch has to be found anew, and two watches may have the same path for a while.
"""

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass, field

from watchdog.observers.inotify import InotifyWatchGroup
from watchdog.observers.inotify_c import InotifyEvent, WatchDescriptor
from watchdog.observers.inotify_move_event_grouper import (
    GroupedInotifyEvent,
    InotifyMoveEventGrouper,
    PathedInotifyEvent,
)

from watcher.collector import TroubleKind
from watcher.names import Names

_MAX_QUEUED = 20_000
_MOVE_SECONDS = 0.02
_MAX_MOVES = 1_000  # the kernel puts both halves of a move into the queue one after the other
_VANISHED = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)

Report = Callable[[TroubleKind, str], None]


class _Grouper(InotifyMoveEventGrouper):
    """Pairs the two halves of a move. Every file moved out holds up all that follows by `delay`, which is 0.5 s in watchdog.

    watchdog's looks through the whole queue for the first half of every file that comes in by a move; this one only if there is one.
    """

    delay = _MOVE_SECONDS
    has_dropped = False

    def __init__(self) -> None:
        super().__init__()
        self._left: dict[int, None] = {}  # the cookies of what was moved away, the last ones

    def put_event(self, event: PathedInotifyEvent) -> None:
        if event.ev.is_moved_from:
            self._left[event.ev.cookie] = None
            if len(self._left) > _MAX_MOVES:
                del self._left[next(iter(self._left))]
        if len(self._queue._queue) < _MAX_QUEUED:  # noqa: SLF001 - it has no length of its own
            super().put_event(event)
        else:
            self.has_dropped = True

    def get_queued_moved_from_event(self, cookie: int) -> PathedInotifyEvent | None:
        return super().get_queued_moved_from_event(cookie) if cookie in self._left else None

    def _group_moved_to_event(self, to_event: PathedInotifyEvent) -> GroupedInotifyEvent:
        return super()._group_moved_to_event(to_event) if to_event.ev.cookie in self._left else to_event


@dataclass(kw_only=True)
class Watches(InotifyWatchGroup):
    """The watches of one inbox: none on ignored directories, and a report for each one that could not be had."""

    names: Names
    leave_out: tuple[str, ...]
    report: Report

    _move_event_grouper: _Grouper = field(default_factory=_Grouper, init=False)
    _identities: dict[WatchDescriptor, tuple[int, int] | None] = field(default_factory=dict, init=False)

    @property
    def watches(self) -> int:
        """How many directories are watched."""
        return len(self._active_callbacks_by_watch)

    def on_event(self, event: InotifyEvent) -> None:
        """Take an event of a watch; with it the watches themselves are kept up to date."""
        if event.is_move_self:
            self._remove_what_left(event.wd)
            return
        if event.is_attrib and event.is_directory:
            self._watch_if_readable_now(event)
        super().on_event(event)
        if self._move_event_grouper.has_dropped:
            self._move_event_grouper.has_dropped = False
            self.report("dropped", f"more than {_MAX_QUEUED} events at once")

    def on_watch_deleted(self, wd: WatchDescriptor) -> None:
        """Forget a watch whose directory is gone; without the root there is nothing to hear."""
        with self._lock:
            is_root = self._active_callbacks_by_path.get(self.path) == wd
        super().on_watch_deleted(wd)
        if is_root:
            self.report("root_lost", "deleted or unmounted")

    def on_queue_overflow(self) -> None:
        """Watch what appeared unseen and forget what went away.

        Not by removing all watches first, as watchdog does: each removal is an event, and 16384 of them are the next overflow.
        """
        with self._lock:
            if not self.is_active:
                return
            self._move_event_grouper.discard_pending_events()
            try:
                live = self._watch_tree(self.path)
                self._remove_callbacks([wd for wd in self._active_callbacks_by_watch if wd not in live])
            except OSError as error:
                self.report("root_lost", error.strerror or "cannot be watched")
        self.report("overflow", "the inotify queue overflowed")

    def deactivate(self) -> None:
        """End all watches."""
        try:
            super().deactivate()
        finally:
            self._move_event_grouper.close()  # whatever failed: the emitter waits on it

    def _add_all_callbacks(self, path: bytes) -> None:
        self._watch_tree(path)

    def _recursive_simulate(self, src_path: bytes) -> list[InotifyEvent]:  # noqa: ARG002 - watchdog's signature
        # What stands in a new directory already is found by the look below it that its hint asks for.
        return []

    def _watch_tree(self, path: bytes) -> set[WatchDescriptor]:
        """Watch a directory and all below it, ignored ones left out; the lock is held. Raises OSError for the root only."""
        live: set[WatchDescriptor] = set()
        waiting = [path] if path == self.path or self._is_wanted(path) else []
        while waiting:
            directory = waiting.pop()
            try:
                live.add(self._watch(directory))
            except OSError as error:
                if directory == self.path:
                    raise
                self._report_unwatched(directory, error)
                if error.errno != errno.ENOSPC:  # else on, to know how many it would take
                    continue
            waiting += self._directories_in(directory)
        return live

    def _report_unwatched(self, directory: bytes, error: OSError) -> None:
        if error.errno == errno.ENOSPC:
            self.report("no_watches", self._below(directory))
        elif error.errno not in _VANISHED:
            self.report("unwatched", f"{self._below(directory)}: {error.strerror}")

    def _watch(self, directory: bytes) -> WatchDescriptor:
        wd = self._inotify_fd.add_callback(directory, self.event_mask, self, self._id)
        before = self._active_callbacks_by_watch.get(wd)
        if before not in (None, directory) and self._active_callbacks_by_path.get(before) == wd:
            del self._active_callbacks_by_path[before]  # it was moved while we did not hear of it
        self._active_callbacks_by_path[directory] = wd
        self._active_callbacks_by_watch[wd] = directory
        self._identities[wd] = _identity(directory)
        return wd

    def _directories_in(self, directory: bytes) -> list[bytes]:
        try:
            with os.scandir(directory) as entries:
                found = [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
        except OSError:
            return []  # gone meanwhile, or enough to watch but not to read: the walk counts it
        return [path for path in found if self._is_wanted(path)]

    def _is_wanted(self, path: bytes) -> bool:
        below = self._below(path)
        return below not in self.leave_out and not self.names.why_ignored(below, is_dir=True)

    def _below(self, path: bytes) -> str:
        return os.fsdecode(path[len(self.path) :].lstrip(b"/"))

    def _watch_if_readable_now(self, event: InotifyEvent) -> None:
        with self._lock:
            path = self._build_event_source_path(event)
            if self.is_active and path and path not in self._active_callbacks_by_path:
                self._watch_tree(path)

    def _remove_what_left(self, wd: WatchDescriptor) -> None:
        """Forget a directory that was moved out of the tree, with all below; one moved within is known under its new path already."""
        with self._lock:
            path = self._active_callbacks_by_watch.get(wd)
            if not self.is_active or path is None or self._stands(wd):
                return
            if path == self.path:
                self.report("root_lost", "moved away")
                return
            below = [other for other, at in self._active_callbacks_by_watch.items() if at.startswith(path + b"/")]
            self._remove_callbacks([wd, *(other for other in below if not self._stands(other))])

    def _stands(self, wd: WatchDescriptor) -> bool:
        """Whether the watched directory is still the one under its path."""
        return self._identities.get(wd) == _identity(self._active_callbacks_by_watch[wd])

    def _remove_watch_internally(self, wd: WatchDescriptor) -> None:
        # Unlike watchdog's, bears that two watches had the same path for a while.
        path = self._active_callbacks_by_watch.pop(wd, b"")
        self._identities.pop(wd, None)
        if self._active_callbacks_by_path.get(path) == wd:
            del self._active_callbacks_by_path[path]


def _identity(directory: bytes) -> tuple[int, int] | None:
    try:
        facts = os.lstat(directory)
    except OSError:
        return None
    return facts.st_dev, facts.st_ino
