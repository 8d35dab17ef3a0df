"""One scan on request: publish what stands in the inboxes now, and if wanted, follow it to its end.

Where a watcher is running, it is asked; otherwise this process is the watcher for as long as it takes. Either way the
leases see to it that nothing is published twice. What a reader would get wrong: results of earlier runs may lie in the
result store under the same arrival id, so they are dropped first.
"""

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from config.settings import Settings
from config.urls import connect, results_url
from tasks.leases import Leases
from tasks.messages import Arrival
from tasks.results import result_key
from watcher.daemon import STORE_TIMEOUT_SECONDS, Watcher
from watcher.names import Names
from watcher.walk import Walk, see

POLL_SECONDS = 0.25
CHUNK = 500
STALL_SECONDS = 45.0  # longer than a file on a network mount settles; then whatever is left is waiting for something


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a scan has come: files found, done, quarantined, and put off to be tried again."""

    total: int
    done: int
    quarantined: int
    waiting: int


@dataclass(frozen=True, slots=True)
class ScanResult:
    """How a scan ended; without waiting, only `published` is known."""

    published: int
    done: int
    quarantined: int
    waiting: int


def scan_once(settings: Settings, wait: bool, progress: Callable[[Progress], None]) -> ScanResult:
    """Publish what stands in the inboxes now; with `wait` until all of it is done, quarantined or put off.

    Raises RedisError when the result store is away.
    """
    leases = Leases(connect(results_url(settings), STORE_TIMEOUT_SECONDS), settings.limits.task_time_seconds)
    follow = Follow(settings, leases, standing(settings))
    with _watching(settings, leases) as watcher:
        if wait:
            return follow.to_the_end(progress)
        if watcher is not None:
            _publish_all(watcher)
    return ScanResult(follow.total, 0, 0, 0)


def _publish_all(watcher: Watcher) -> None:
    """Wait until everything is published; or as much as fits into the window, when no worker makes room in it."""
    moved_at, before = time.monotonic(), -1
    while not watcher.has_offered_all and time.monotonic() - moved_at < STALL_SECONDS:
        if watcher.publisher.answered != before:
            moved_at, before = time.monotonic(), watcher.publisher.answered
        time.sleep(POLL_SECONDS)


def standing(settings: Settings) -> Iterator[Arrival]:
    """Every candidate that stands in an inbox now, complete or not."""
    for inbox in settings.inbox:
        with Walk(os.fspath(inbox.path), Names(inbox.ignore, inbox.suffixes)) as walk:
            while not walk.finished:
                for seen in walk.pull(1000, 1.0):
                    yield Arrival(inbox.name, seen.path, seen.size_bytes, seen.mtime_ns)


@contextmanager
def _watching(settings: Settings, leases: Leases) -> Iterator[Watcher | None]:
    """Ask the watchers that are running, and be one for the inboxes that have none."""
    watched = leases.reports(inbox.name for inbox in settings.inbox)
    for name in watched:
        leases.ask_scan(name)
    ours = tuple(inbox for inbox in settings.inbox if inbox.name not in watched)
    if not ours:
        yield None
        return
    watcher = Watcher(settings.model_copy(update={"inbox": ours}))
    thread = threading.Thread(target=watcher.run, name="watcher", daemon=True)
    thread.start()
    try:
        yield watcher
    finally:
        watcher.say("stop")
        thread.join(10.0)


class Follow:
    """The arrivals that a scan is about, each until its end is known."""

    def __init__(self, settings: Settings, leases: Leases, arrivals: Iterator[Arrival]) -> None:
        self._settings = settings
        self._leases = leases
        self._open = {arrival.id: arrival for arrival in arrivals}
        self.total = len(self._open)
        self._ended = {"done": 0, "quarantined": 0}
        self._waiting: set[str] = set()
        for ids in _chunks(list(self._open)):
            leases.redis.delete(*map(result_key, ids))

    def to_the_end(self, progress: Callable[[Progress], None]) -> ScanResult:
        """Look again and again until everything has ended or was put off, or nothing moves any more."""
        moved_at, before = time.monotonic(), self.total
        while True:
            in_flight = sum(self._look(ids) for ids in _chunks(list(self._open)))
            progress(Progress(self.total, self._ended["done"], self._ended["quarantined"], len(self._waiting)))
            left = len(self._open) - len(self._waiting)
            if left != before or in_flight:
                moved_at, before = time.monotonic(), left
            if not left or time.monotonic() - moved_at > STALL_SECONDS:
                break
            time.sleep(POLL_SECONDS)
        return ScanResult(self.total - left, self._ended["done"], self._ended["quarantined"], len(self._open))

    def _look(self, ids: list[str]) -> int:
        """See what became of some; the number that is in flight."""
        states = self._leases.states(ids)  # first, because no lease ends before its result is there
        texts = self._leases.redis.mget(map(result_key, ids))
        for arrival_id, text, state in zip(ids, texts, states, strict=True):
            end = _end_of(text) or ("" if state else self._end_without_result(self._open[arrival_id]))
            if end in self._ended:
                self._ended[end] += 1
                self._waiting.discard(arrival_id)
                del self._open[arrival_id]
            elif end == "put_off" and not state:
                self._waiting.add(arrival_id)
        return sum(map(bool, states))

    def _end_without_result(self, arrival: Arrival) -> str:
        """What is to be thought of an arrival that nobody works on and nobody reported: an empty file waits for content."""
        inbox = self._settings.inbox_named(arrival.inbox)
        if self._leases.is_kept(arrival) or see(os.fspath(inbox.path), arrival.path) == "gone":
            return "done"
        return "put_off" if arrival.size_bytes == 0 else ""


def _end_of(text: str | None) -> str:
    """The end that a result tells of: "done", "quarantined", "put_off" or nothing yet (Celery's result JSON)."""
    result = json.loads(text).get("result") if text else None
    outcome = result.get("outcome", "") if isinstance(result, dict) else ""
    return "done" if outcome == "duplicate" else str(outcome)


def _chunks(ids: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(ids), CHUNK):
        yield ids[start : start + CHUNK]
