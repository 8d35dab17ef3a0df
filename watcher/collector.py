"""Collects what events say until the daemon's loop fetches it: bounded, one entry a path, filled by threads that must not wait.

Touches no file and knows no watchdog. What a reader would get wrong: losing an entry is allowed, keeping silent about it is not;
beyond the limit the inbox gets the trouble "dropped", which means a rescan.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

# The first five are `settle.Event`. "directory": it appeared, was moved in or may be read now, so look below it ("" is the root).
HintKind = Literal["moved_in", "closed", "renamed", "touched", "attributes", "directory", "gone"]

# "overflow": the kernel lost events. "root_lost": the root is gone, moved away or unmounted, and the inbox disarmed. "dead": a thread
# died or failed, and the inbox is disarmed. "no_watches": the kernel's limit is reached; `detail` is the first directory without a
# watch. "unwatched": a directory got no watch for another reason. "dropped": more events than we keep.
TroubleKind = Literal["overflow", "root_lost", "dead", "no_watches", "unwatched", "dropped"]

MAX_PATHS = 10_000


@dataclass(frozen=True, slots=True)
class Hint:
    """Look here: `path` is relative to the inbox."""

    inbox: str
    path: str
    kind: HintKind


@dataclass(frozen=True, slots=True)
class Trouble:
    """Events were missed; `detail` says more about the first of `count` times."""

    inbox: str
    kind: TroubleKind
    detail: str
    count: int = 1


class Collector:
    """The hints and troubles of all inboxes since the last `drain`.

    `wake` is called, from any thread, when something comes in after a drain; it must not block.
    """

    def __init__(self, wake: Callable[[], None], limit: int = MAX_PATHS) -> None:
        self._wake = wake
        self._limit = limit
        self._lock = threading.Lock()
        self._hints: dict[tuple[str, str], HintKind] = {}
        self._troubles: dict[tuple[str, TroubleKind], tuple[str, int]] = {}

    def hint(self, inbox: str, path: str, kind: HintKind) -> None:
        """Note an event; the last one of a path counts, but a change of attributes hides nothing."""
        key = (inbox, path)
        with self._lock:
            was_empty = self._is_empty()
            if key not in self._hints and len(self._hints) >= self._limit:
                self._add_trouble(inbox, "dropped", f"more than {self._limit} paths at once")
            elif kind != "attributes" or key not in self._hints:
                self._hints[key] = kind
        if was_empty:
            self._wake()

    def trouble(self, inbox: str, kind: TroubleKind, detail: str) -> None:
        """Note that events were missed."""
        with self._lock:
            was_empty = self._is_empty()
            self._add_trouble(inbox, kind, detail)
        if was_empty:
            self._wake()

    def drain(self) -> tuple[list[Hint], list[Trouble]]:
        """Take out everything, in the order in which paths first appeared."""
        with self._lock:
            hints, self._hints = self._hints, {}
            troubles, self._troubles = self._troubles, {}
        return (
            [Hint(inbox, path, kind) for (inbox, path), kind in hints.items()],
            [Trouble(inbox, kind, detail, count) for (inbox, kind), (detail, count) in troubles.items()],
        )

    def forget_troubles(self, inbox: str) -> None:
        """Drop the troubles of an inbox whose watching ended, so that they are not taken for those of its next."""
        with self._lock:
            self._troubles = {key: value for key, value in self._troubles.items() if key[0] != inbox}

    def _is_empty(self) -> bool:
        return not self._hints and not self._troubles

    def _add_trouble(self, inbox: str, kind: TroubleKind, detail: str) -> None:
        first, count = self._troubles.get((inbox, kind), (detail, 0))
        self._troubles[inbox, kind] = (first, count + 1)
