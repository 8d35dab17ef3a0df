"""Hints where to look, from inotify events, and word of events that were missed: the front door to inotify and watchdog.

What a reader would get wrong: nothing here decides or looks; and ignored directories get no watch at all, so they are not even
counted.

    kernel -> Reader (a thread) -> Watches -> Emitter (a thread) -> Collector -> the daemon

Every inbox has the first three for itself (watcher/inotify_reader.py, inotify_watches.py, inotify_emitter.py), so that an
overflow, or whatever breaks, concerns one inbox, and arming makes all anew.

Limits: inotify does not tell of a mount put over a watched directory; the periodic scan finds what happens there.
"""

import threading
from collections.abc import Callable

from watcher.collector import MAX_PATHS, Collector, Hint, Trouble
from watcher.inotify_emitter import Emitter
from watcher.names import Names

_JOIN_SECONDS = 3.0


class Hints:
    """Watches several inboxes; safe to be used from one thread. Its threads start with the first `arm`, so daemonise before.

    `wake` is called from other threads when there is something to `drain`; it must not block. Drain at least every few seconds
    all the same: a thread that died cannot wake anybody.
    """

    def __init__(self, wake: Callable[[], None], limit: int = MAX_PATHS) -> None:
        self._collector = Collector(wake, limit)
        self._emitters: dict[str, Emitter] = {}

    def arm(self, inbox: str, root: str, names: Names, leave_out: tuple[str, ...] = ()) -> int:
        """Watch an inbox (anew, if it was armed); give the number of watches. Everything after the return is noticed.

        `root` is absolute and free of links. `leave_out` are directories (relative) that get no watch, for the network mounts
        inside. Raises OSError when the root itself cannot be watched: ENOSPC (no watches left), EMFILE (no inotify instances left),
        ENOENT, EACCES, ENOTDIR; a subdirectory without a watch is the trouble "no_watches" or "unwatched".
        """
        self.disarm(inbox)
        emitter = Emitter(inbox, root, names, leave_out=leave_out, collector=self._collector)
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
