"""What was seen of the files of one inbox: who has to wait for what, and which arrivals are ready to be published.

Pure: sightings and times come in, arrivals go out. What a reader would get wrong: nothing that is remembered here is
needed. All of it may be forgotten, and the next scan finds what is still to do; so every table is bounded.
"""

from collections.abc import Callable

from tasks.messages import Arrival
from watcher.hearing import Hearing
from watcher.pending import Pending, Source
from watcher.ready import Complete as ReadyArrival
from watcher.ready import Lane, Ready
from watcher.settle import AskWriter, Complete, Event, Rules, WaitSeconds, judge, trace
from watcher.sighting import Sighting, Writer

READY = 128  # files found ahead of use
MAX_FRESH = 2_000  # beyond, what events announce waits in the bounded table, and then for a scan
_PATIENT = frozenset({"empty", "writer"})  # waits that may last for hours


class Looks:
    """The table of one inbox. Paths are relative; `now` is monotonic seconds, `now_ns` the wall clock.

    `rules` gives how a path settles. `forget` is called with an arrival whose retry record has become void. What returns
    a bool says whether there was room; where not, a scan has to find the file again.
    """

    def __init__(self, inbox: str, rules: Callable[[str], Rules], forget: Callable[[Arrival], None]) -> None:
        self.pending = Pending(patient=_PATIENT)
        self.hearing = Hearing()
        self._inbox = inbox
        self._rules = rules
        self._forget = forget
        self._ready = Ready()
        self._retries: dict[str, Arrival] = {}

    @property
    def is_idle(self) -> bool:
        """Whether nothing is ready or about to be."""
        return self.ready == 0 and self.pending.counts().keys() <= _PATIENT

    @property
    def ready(self) -> int:
        """How many arrivals are ready."""
        return len(self._ready)

    @property
    def has_room(self) -> bool:
        """Whether a scan should be pulled further."""
        return self.ready < READY and not self.pending.is_full

    def due(self, now: float, limit: int) -> list[str]:
        """Up to `limit` paths to look at now."""
        return self.pending.due(now, limit) if self._ready.fresh < MAX_FRESH else []

    def next_at(self) -> float | None:
        """When `due` has something again, if nothing else happens; None while there is no room for it."""
        return self.pending.next_at() if self._ready.fresh < MAX_FRESH else None

    def announce(self, path: str, event: Event, now: float) -> bool:
        """An event told of a path."""
        self.hearing.announced(path)
        return self.pending.hint(path, event, now)

    def retry(self, arrival: Arrival, now: float) -> bool:
        """An arrival's wait has ended: look whether it still stands there."""
        self._retries[arrival.path] = arrival
        return self.pending.hint(arrival.path, None, now, source="again")

    def ended(self, arrival: Arrival, now: float) -> bool:
        """An arrival's lease has ended: look whether it still stands there."""
        self._ready.came_back(arrival)
        return self.pending.hint(arrival.path, None, now, source="again")

    def look_again(self, now: float) -> bool:
        """Look anew at all that is ready: it was seen too long ago."""
        hints = [self.pending.hint(path, None, now, source="again") for path in self._ready.empty()]
        return all(hints)

    def saw(
        self, sighting: Sighting, writer: Writer | None, now: float, now_ns: int, *, source: Source = "scan"
    ) -> bool:
        """The few lines where everything ends: decide whether a file that was looked at is complete.

        `source` is what brought it, where no hint did.
        """
        path = sighting.path
        wait = self.pending.get(path)
        source = wait.source if wait else source
        self._forget_if_changed(sighting)
        known = trace(wait.trace if wait else None, sighting, wait.event if wait else None, now)
        verdict = judge(sighting, known, self._rules(path), now_ns=now_ns, monotonic=now, writer=writer)
        match verdict:
            case Complete():
                self.pending.drop(path)
                self._is_complete(sighting, source)
                return True
            case AskWriter():
                return self.pending.wait(path, now, "look", known, source)
            case WaitSeconds(seconds, why):
                return self.pending.wait(path, now + seconds, why, known, source) or why in _PATIENT

    def is_news(self, sighting: Sighting) -> bool:
        """Whether what a scan saw says something new: of a path that waits for nothing, or for content that it has by now.

        Where no event tells of that (a polled inbox, no watches left) it would wait for all of `empty_grace`.
        """
        wait = self.pending.get(sighting.path)
        return wait is None or (wait.why == "empty" and sighting.size_bytes > 0 and not wait.is_out)

    def saw_none(self, path: str) -> None:
        """A look found no candidate, or none that may be looked at; whatever it was, a scan will find it anew."""
        self.pending.drop(path)
        self._ready.drop(path)
        retry = self._retries.pop(path, None)
        if retry is not None:
            self._forget(retry)

    def gone(self, path: str) -> None:
        """An event told that a file went away; what waits for its look stays, because events come late."""
        self._ready.drop(path)

    def take(self, limit: int) -> list[Arrival]:
        """Up to `limit` arrivals that are ready, fresh ones before the backlog."""
        taken = (self._ready.take() for _ in range(limit))
        return [arrival for arrival in taken if arrival]

    def answered(self, arrival: Arrival, now: float, *, published: bool) -> bool:
        """Note that an arrival that was taken went out, or did not; whether a scan had brought it for nothing."""
        complete = self._ready.out(arrival)
        by_scan = complete is not None and complete.by_scan
        if not published:
            self._ready.came_back(arrival)
        elif complete and by_scan:
            self.hearing.found(arrival.path, complete.ctime_ns, now)
        return by_scan and not published

    def clear(self) -> None:
        """Forget everything but what is out: the inbox went away, and a scan will follow when it is back."""
        self.pending.clear()
        self._ready.empty()
        self._retries.clear()

    def _forget_if_changed(self, sighting: Sighting) -> None:
        retry = self._retries.get(sighting.path)
        if retry is not None and retry != self._arrival(sighting):
            del self._retries[sighting.path]
            self._forget(retry)

    def _is_complete(self, sighting: Sighting, source: Source) -> None:
        is_retry = self._retries.pop(sighting.path, None) is not None
        lane: Lane = "retry" if is_retry else "fresh" if source == "event" else "backlog"
        self._ready.add(ReadyArrival(self._arrival(sighting), sighting.ctime_ns, by_scan=source == "scan"), lane)

    def _arrival(self, sighting: Sighting) -> Arrival:
        return Arrival(self._inbox, sighting.path, sighting.size_bytes, sighting.mtime_ns)
