"""The thread that turns the inotify events of one inbox into hints (watcher/events.py says what each means).

Refines private classes of watchdog, see inotify_reader.py. What a reader would get wrong: watchdog's own queue and dispatcher are
passed by; an event goes straight to the collector, and one that cannot be understood is reported as dropped.
"""

import contextlib
import os
import time

from watchdog import events
from watchdog.observers import inotify_c
from watchdog.observers.api import EventQueue, ObservedWatch
from watchdog.observers.inotify import InotifyFullEmitter
from watchdog.observers.inotify_c import Mask
from watchdog.observers.inotify_move_event_grouper import GroupedInotifyEvent, PathedInotifyEvent

from watcher.collector import Collector, TroubleKind
from watcher.events import Events
from watcher.inotify_reader import Reader
from watcher.inotify_watches import Watches
from watcher.names import Names

# No OPEN, CLOSE_NOWRITE, ACCESS: our own workers' reading would fill the queue. No MODIFY: a large upload causes thousands, and tells
# nothing that its close and the ctime do not.
_IN = inotify_c.InotifyConstants
_MASK = Mask(
    (_IN.IN_CREATE | _IN.IN_MOVE | _IN.IN_CLOSE_WRITE | _IN.IN_ATTRIB | _IN.IN_DELETE)
    | (_IN.IN_DELETE_SELF | _IN.IN_MOVE_SELF | _IN.IN_ONLYDIR | _IN.IN_EXCL_UNLINK)
)
_JOIN_SECONDS = 3.0


class Emitter(InotifyFullEmitter):
    """The thread that turns the events of one inbox into hints; "full" so that a file moved in differs from one created."""

    def __init__(
        self, inbox: str, root: str, names: Names, *, leave_out: tuple[str, ...], collector: Collector
    ) -> None:
        reader = Reader(lambda detail: collector.trouble(inbox, "dead", detail))
        super().__init__(EventQueue(), ObservedWatch(root, recursive=True), inotify_fd=reader)
        self._inbox = inbox
        self._names = names
        self._leave_out = leave_out
        self._reader = reader
        self._collector = collector
        self._events = Events(root, names, lambda path, kind: collector.hint(inbox, path, kind))

    @property
    def is_running(self) -> bool:
        """Whether both threads live."""
        return self.is_alive() and self._reader.is_alive()

    @property
    def watches(self) -> int:
        """How many directories are watched."""
        return self._inotify.watches if isinstance(self._inotify, Watches) else 0

    def discard(self) -> None:
        """End both threads and all watches, whatever state they are in."""
        with contextlib.suppress(Exception):  # its bookkeeping may be what broke
            self.stop()
        if self.is_alive():
            self.join(_JOIN_SECONDS)
        self._reader.discard()

    def on_thread_start(self) -> None:
        """Watch the whole tree, before the thread begins. Raises OSError when the root cannot be watched."""
        self._reader.start()
        self._inotify = Watches(
            self._reader,
            os.fsencode(self.watch.path),
            event_mask=_MASK,
            is_recursive=True,
            names=self._names,
            leave_out=self._leave_out,
            report=self._report,
        )

    def build_and_queue_event(self, event: GroupedInotifyEvent, *, full_events: bool = True) -> None:
        """Make an event of what the kernel told, or of two of those that are one move."""
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
