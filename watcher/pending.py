"""Paths that have to be looked at, each at its time: a bounded table with the earliest first.

Pure: monotonic seconds come in as numbers. What a reader would get wrong: the table may refuse. When it is full, `hint`
and `wait` say so and the next scan finds the file; that is what keeps a burst of a million events in constant memory.
Files that may have to wait for hours get no more than half of it, so that they never keep others out.
"""

import heapq
from collections import Counter
from dataclasses import dataclass
from typing import Literal

from watcher.settle import Event, Trace, later_event

MAX_PENDING = 10_000

# What brought a path: an event, a scan, or that it was known before (its lease or its wait has ended).
Source = Literal["event", "scan", "again"]


@dataclass(slots=True)
class Wait:
    """What is known about a path between two looks.

    `at`: when the next look is due. `event`: the last one since the look before. `why`: what it waits for, for `status`.
    `is_out`: handed out, its look is on the way.
    """

    at: float
    source: Source
    event: Event | None = None
    trace: Trace | None = None
    why: str = "look"
    is_out: bool = False


class Pending:
    """The table of one inbox. `patient`: the reasons that get no more than half of it."""

    def __init__(self, limit: int = MAX_PENDING, patient: frozenset[str] = frozenset()) -> None:
        self._limit = limit
        self._patient = patient
        self._waits: dict[str, Wait] = {}
        self._counts: Counter[str] = Counter()
        self._heap: list[tuple[float, str]] = []

    def __len__(self) -> int:
        return len(self._waits)

    def __contains__(self, path: str) -> bool:
        return path in self._waits

    @property
    def is_full(self) -> bool:
        """Whether there is no room for another path."""
        return len(self._waits) >= self._limit

    def get(self, path: str) -> Wait | None:
        """What is known about a path."""
        return self._waits.get(path)

    def hint(self, path: str, event: Event | None, now: float, source: Source = "event") -> bool:
        """An event (None: somebody else) says to look at `path` now; False when the table is full."""
        wait = self._wait_for(path, source)
        if wait is None:
            return False
        wait.event = later_event(wait.event, event)
        wait.source = "event" if "event" in (wait.source, source) else source
        self._schedule(path, wait, now)
        return True

    def wait(self, path: str, at: float, why: str, trace: Trace | None = None, source: Source = "again") -> bool:
        """Look again at monotonic time `at`; False when there is no room. What events said is in the trace by now.

        `source` is what brought a path that is not in the table yet.
        """
        if self._is_too_patient(path, why):
            self.drop(path)
            return False
        wait = self._wait_for(path, source)
        if wait is None:
            return False
        self._counts[wait.why] -= 1
        self._counts[why] += 1
        wait.why, wait.trace, wait.event = why, trace, None
        self._schedule(path, wait, at)
        return True

    def due(self, now: float, limit: int) -> list[str]:
        """Up to `limit` paths whose time has come; each is handed out once, until it is scheduled again."""
        found: list[str] = []
        while len(found) < limit and (at := self.next_at()) is not None and at <= now:
            _, path = heapq.heappop(self._heap)
            self._waits[path].is_out = True
            found.append(path)
        return found

    def put_back(self, path: str) -> None:
        """Take back what `due` handed out: it is due still."""
        wait = self._waits.get(path)
        if wait is not None:
            self._schedule(path, wait, wait.at)

    def drop(self, path: str) -> None:
        """Forget a path: it is published, gone, or no candidate."""
        wait = self._waits.pop(path, None)
        if wait is not None:
            self._counts[wait.why] -= 1

    def clear(self) -> None:
        """Forget everything: the inbox went away, and a scan will follow when it is back."""
        self._waits.clear()
        self._counts.clear()
        self._heap.clear()

    def next_at(self) -> float | None:
        """When the next path is due; None when none waits."""
        while self._heap:
            at, path = self._heap[0]
            wait = self._waits.get(path)
            if wait is not None and wait.at == at and not wait.is_out:
                return at
            heapq.heappop(self._heap)  # an old entry: the path was dropped or scheduled anew
        return None

    def counts(self) -> dict[str, int]:
        """How many paths wait for what."""
        return {why: count for why, count in self._counts.items() if count}

    def _wait_for(self, path: str, source: Source) -> Wait | None:
        wait = self._waits.get(path)
        if wait is None and not self.is_full:
            wait = self._waits[path] = Wait(at=0.0, source=source)
            self._counts[wait.why] += 1
        return wait

    def _is_too_patient(self, path: str, why: str) -> bool:
        wait = self._waits.get(path)
        is_new = wait is None or wait.why not in self._patient
        return is_new and why in self._patient and 2 * sum(self._counts[name] for name in self._patient) >= self._limit

    def _schedule(self, path: str, wait: Wait, at: float) -> None:
        wait.at, wait.is_out = at, False
        heapq.heappush(self._heap, (at, path))
        if len(self._heap) > 4 * self._limit:  # rid the heap of old entries: a file written for hours adds many
            self._heap = [(known.at, name) for name, known in self._waits.items() if not known.is_out]
            heapq.heapify(self._heap)
