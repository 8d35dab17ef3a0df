"""Turns inotify events into hints where to look, and says when events were missed. The only importer of watchdog.

watchdog 7.1.0 tells an application nothing of an overflow, of directories without a watch, of a root that went away; so its private
classes are refined here, for exactly this version (a test and pyproject.toml pin it): its reader thread and its bookkeeping of
watches are used, its event queue, which is unbounded, and its dispatcher, which an exception ends, are not. What a reader would get
wrong: nothing here decides or looks; and ignored directories get no watch at all, so they are not even counted.

    kernel -> _Reader (a thread) -> _Group (the watches) -> _Emitter (a thread) -> Collector -> the daemon

Every inbox has the first three for itself, so that an overflow, or whatever breaks, concerns one inbox, and arming makes all anew.

Limits: inotify does not tell of a mount put over a watched directory; the periodic scan finds what happens there.
"""

import contextlib
import ctypes
import errno
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from watchdog import events
from watchdog.observers import inotify_c
from watchdog.observers.api import EventQueue, ObservedWatch
from watchdog.observers.inotify import InotifyFullEmitter, InotifyWatchGroup
from watchdog.observers.inotify_c import InotifyEvent, InotifyFD, Mask, Watch, WatchDescriptor
from watchdog.observers.inotify_move_event_grouper import (
    GroupedInotifyEvent,
    InotifyMoveEventGrouper,
    PathedInotifyEvent,
)

from watcher.collector import MAX_PATHS, Collector, Hint, Trouble, TroubleKind
from watcher.events import Events
from watcher.names import Names

# No OPEN, CLOSE_NOWRITE, ACCESS: our own workers' reading would fill the queue. No MODIFY: a large upload causes thousands, and tells
# nothing that its close and the ctime do not.
_IN = inotify_c.InotifyConstants
_MASK = Mask(
    (_IN.IN_CREATE | _IN.IN_MOVE | _IN.IN_CLOSE_WRITE | _IN.IN_ATTRIB | _IN.IN_DELETE)
    | (_IN.IN_DELETE_SELF | _IN.IN_MOVE_SELF | _IN.IN_ONLYDIR | _IN.IN_EXCL_UNLINK)
)
_MAX_QUEUED = 20_000
_MOVE_SECONDS = 0.02
_MAX_MOVES = 1_000  # the kernel puts both halves of a move into the queue one after the other
_JOIN_SECONDS = 3.0
_VANISHED = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)

Report = Callable[[TroubleKind, str], None]


class Hints:
    """Watches several inboxes; safe to be used from one thread. Its threads start with the first `arm`, so daemonise before.

    `wake` is called from other threads when there is something to `drain`; it must not block. Drain at least every few seconds
    all the same: a thread that died cannot wake anybody.
    """

    def __init__(self, wake: Callable[[], None], limit: int = MAX_PATHS) -> None:
        self._collector = Collector(wake, limit)
        self._emitters: dict[str, _Emitter] = {}

    def arm(self, inbox: str, root: str, names: Names, leave_out: tuple[str, ...] = ()) -> int:
        """Watch an inbox (anew, if it was armed); give the number of watches. Everything after the return is noticed.

        `root` is absolute and free of links. `leave_out` are directories (relative) that get no watch, for the network mounts
        inside. Raises OSError when the root itself cannot be watched: ENOSPC (no watches left), EMFILE (no inotify instances left),
        ENOENT, EACCES, ENOTDIR; a subdirectory without a watch is the trouble "no_watches" or "unwatched".
        """
        self.disarm(inbox)
        emitter = _Emitter(inbox, root, names, leave_out=leave_out, collector=self._collector)
        try:
            emitter.start()
        except OSError:
            emitter.discard()
            raise
        self._emitters[inbox] = emitter
        return emitter.watches

    def disarm(self, inbox: str) -> None:
        """Stop watching an inbox; nothing happens if it is not armed."""
        emitter = self._emitters.pop(inbox, None)
        if emitter:
            # In a thread, because one that died may have taken a lock with it, and the daemon must not wait for that for ever.
            ending = threading.Thread(target=emitter.discard, name="discard", daemon=True)
            ending.start()
            ending.join(_JOIN_SECONDS)
            self._collector.forget_troubles(inbox)

    def watches(self, inbox: str) -> int:
        """Count the directories that are watched; 0 when the inbox is not armed."""
        emitter = self._emitters.get(inbox)
        return emitter.watches if emitter else 0

    def drain(self) -> tuple[list[Hint], list[Trouble]]:
        """Take what came in since the last time; inboxes whose root was lost or whose thread died are disarmed by this."""
        hints, troubles = self._collector.drain()
        known_dead = {trouble.inbox for trouble in troubles if trouble.kind in ("root_lost", "dead")}
        for inbox, emitter in self._emitters.items():
            if inbox not in known_dead and not emitter.is_running:
                troubles.append(Trouble(inbox, "dead", "an observer thread ended"))
                known_dead.add(inbox)
        for inbox in known_dead:
            self.disarm(inbox)
        return hints, troubles

    def close(self) -> None:
        """Stop watching everything."""
        for inbox in list(self._emitters):
            self.disarm(inbox)


class _Reader(InotifyFD):
    """The inotify instance and the thread that reads it; survives what watchdog's own bookkeeping does not expect."""

    def __init__(self, report_failure: Callable[[str], None]) -> None:
        super().__init__()
        self._report_failure = report_failure
        self._descriptors = [self._inotify_fd, self._kill_r, self._kill_w]

    def run(self) -> None:
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
class _Group(InotifyWatchGroup):
    """The watches of one inbox: none on ignored directories, and a report for each one that could not be had."""

    names: Names
    leave_out: tuple[str, ...]
    report: Report

    _move_event_grouper: _Grouper = field(default_factory=_Grouper, init=False)
    _identities: dict[WatchDescriptor, tuple[int, int] | None] = field(default_factory=dict, init=False)

    @property
    def watches(self) -> int:
        return len(self._active_callbacks_by_watch)

    def on_event(self, event: InotifyEvent) -> None:
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


class _Emitter(InotifyFullEmitter):
    """The thread that turns the events of one inbox into hints; "full" so that a file moved in differs from one created."""

    def __init__(
        self, inbox: str, root: str, names: Names, *, leave_out: tuple[str, ...], collector: Collector
    ) -> None:
        reader = _Reader(lambda detail: collector.trouble(inbox, "dead", detail))
        super().__init__(EventQueue(), ObservedWatch(root, recursive=True), inotify_fd=reader)
        self._inbox = inbox
        self._names = names
        self._leave_out = leave_out
        self._reader = reader
        self._collector = collector
        self._events = Events(root, names, lambda path, kind: collector.hint(inbox, path, kind))

    @property
    def is_running(self) -> bool:
        return self.is_alive() and self._reader.is_alive()

    @property
    def watches(self) -> int:
        return self._inotify.watches if isinstance(self._inotify, _Group) else 0

    def discard(self) -> None:
        """End both threads and all watches, whatever state they are in."""
        with contextlib.suppress(Exception):  # its bookkeeping may be what broke
            self.stop()
        if self.is_alive():
            self.join(_JOIN_SECONDS)
        self._reader.discard()

    def on_thread_start(self) -> None:
        self._reader.start()
        self._inotify = _Group(
            self._reader,
            os.fsencode(self.watch.path),
            event_mask=_MASK,
            is_recursive=True,
            names=self._names,
            leave_out=self._leave_out,
            report=self._report,
        )

    def build_and_queue_event(self, event: GroupedInotifyEvent, *, full_events: bool = True) -> None:
        raw, path = event if isinstance(event, PathedInotifyEvent) else event[1]
        if raw.is_delete_self:
            if path == os.fsencode(self.watch.path):
                self._report("root_lost", "deleted")
        elif raw.is_moved_to and raw.is_directory:  # watchdog would walk all below it here
            self.queue_event(events.DirMovedEvent("", os.fsdecode(path)))
        else:
            super().build_and_queue_event(event, full_events=full_events)

    def queue_event(self, event: events.FileSystemEvent) -> None:
        """Take the event straight to the collector, past watchdog's queue."""
        try:
            self._note(event)
        except Exception as error:  # noqa: BLE001 - the thread must live; a rescan finds what this event was about
            self._report("dropped", f"{type(error).__name__}: {error}")

    def _report(self, kind: TroubleKind, detail: str) -> None:
        self._collector.trouble(self._inbox, kind, detail)

    def _note(self, event: events.FileSystemEvent) -> None:
        source, target = os.fsdecode(event.src_path), os.fsdecode(event.dest_path)
        now = time.monotonic()
        match event:
            case events.FileClosedEvent():
                self._events.closed(source)
            case events.FileCreatedEvent():
                self._events.created(source, now)
            case events.FileDeletedEvent():
                self._events.deleted(source, now)
            case events.FileAttribEvent():
                self._events.changed_attributes(source)
            case events.FileMovedEvent():  # either end is "" when it is outside of the tree
                if source:
                    self._events.moved_out(source)
                if target:
                    self._events.moved_in(target)
            case events.DirCreatedEvent() | events.DirAttribEvent():
                self._events.directory_appeared(source)
            case events.DirMovedEvent() if target:
                self._events.directory_appeared(target)
