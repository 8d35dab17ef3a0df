"""What was seen of the files of one inbox: who has to wait for what, and which arrivals are ready to be published.

Pure: sightings and times come in, arrivals go out. What a reader would get wrong: nothing that is remembered here is
needed. All of it may be forgotten, and the next scan finds what is still to do; so every table is bounded.
"""

from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass

from tasks.messages import Arrival
from watcher.pending import Pending
from watcher.settle import AskWriter, Complete, Event, Rules, WaitSeconds, judge, trace
from watcher.sighting import Sighting, Unseen, Writer

READY = 128  # files found ahead of use
MAX_FRESH = 2_000  # beyond, what events announce waits in the bounded table, and then for a scan
REMEMBERED_EVENTS = 20_000
_PATIENT = {"empty", "writer"}  # waits that may last for hours


@dataclass(frozen=True, slots=True)
class _Ready:
    arrival: Arrival
    ctime_ns: int
    by_scan: bool


class Looks:
    """The table of one inbox. Paths are relative; `now` is monotonic seconds, `now_ns` the wall clock.

    `rules` gives how a path settles. `forget` is called with an arrival whose retry record has become void.
    """

    def __init__(self, inbox: str, rules: Callable[[str], Rules], forget: Callable[[Arrival], None]) -> None:
        self.pending = Pending()
        self.missed_events = 0
        self._inbox = inbox
        self._rules = rules
        self._forget = forget
        self._fresh: deque[_Ready] = deque()
        self._backlog: deque[_Ready] = deque()
        self._retries: dict[str, Arrival] = {}
        self._announced: OrderedDict[str, None] = OrderedDict()
        self._by_scan: dict[str, int] = {}

    @property
    def is_idle(self) -> bool:
        """Whether nothing is ready or about to be."""
        return self.ready == 0 and self.pending.counts().keys() <= _PATIENT

    @property
    def ready(self) -> int:
        """How many arrivals are ready."""
        return len(self._fresh) + len(self._backlog)

    @property
    def has_room(self) -> bool:
        """Whether a scan should be pulled further."""
        return self.ready < READY and not self.pending.is_full

    def due(self, now: float, limit: int) -> list[str]:
        """Up to `limit` paths to look at now."""
        return self.pending.due(now, limit) if len(self._fresh) < MAX_FRESH else []

    def announce(self, path: str, event: Event, now: float) -> bool:
        """An event told of a path; False when there is no room to remember it."""
        self.note_announced(path)
        return self.pending.hint(path, event, now)

    def note_announced(self, path: str) -> None:
        """Remember that an event told of a path, or of a directory above it that had just appeared."""
        self._announced[path] = None
        self._announced.move_to_end(path)
        if len(self._announced) > REMEMBERED_EVENTS:
            self._announced.popitem(last=False)

    def retry(self, arrival: Arrival, now: float) -> bool:
        """An arrival's wait has ended: look whether it still stands there; False when there is no room."""
        self._retries[arrival.path] = arrival
        return self.pending.hint(arrival.path, None, now)

    def saw(self, sighting: Sighting, writer: Writer | None, now: float, now_ns: int) -> None:
        """The few lines where everything ends: decide whether a file that was looked at is complete."""
        path = sighting.path
        wait = self.pending.get(path)
        known = trace(wait.trace if wait else None, sighting, wait.event if wait else None, now)
        verdict = judge(sighting, known, self._rules(path), now_ns=now_ns, monotonic=now, writer=writer)
        match verdict:
            case Complete():
                self.pending.drop(path)
                self._is_complete(sighting, by_scan=not (wait and wait.is_fresh))
            case AskWriter():
                self.pending.wait(path, now, "look", known)
            case WaitSeconds(seconds, why):
                self.pending.wait(path, now + seconds, why, known)

    def saw_none(self, path: str, why: Unseen) -> None:
        """A look found no candidate."""
        self.pending.drop(path)
        retry = self._retries.pop(path, None)
        if retry is not None and why != "unreadable":
            self._forget(retry)

    def take(self, limit: int) -> list[Arrival]:
        """Up to `limit` arrivals that are ready, fresh ones before the backlog."""
        taken: list[Arrival] = []
        while len(taken) < limit and (self._fresh or self._backlog):
            ready = (self._fresh or self._backlog).popleft()
            if ready.by_scan:
                self._by_scan[ready.arrival.id] = ready.ctime_ns
            taken.append(ready.arrival)
        return taken

    def answered(self, arrival: Arrival, *, published: bool, armed_ns: int | None) -> bool:
        """Note that an arrival went out, or did not; True when an event should have told of it and did not.

        `armed_ns` is the wall clock when the watches were armed, None where there are none.
        """
        ctime_ns = self._by_scan.pop(arrival.id, 0)
        missed = published and armed_ns is not None and ctime_ns > armed_ns and arrival.path not in self._announced
        self.missed_events += missed
        return missed

    def clear(self) -> None:
        """Forget everything: the inbox went away, and a scan will follow when it is back."""
        self.pending.clear()
        self._fresh.clear()
        self._backlog.clear()
        self._retries.clear()
        self._by_scan.clear()

    def _is_complete(self, sighting: Sighting, *, by_scan: bool) -> None:
        arrival = Arrival(self._inbox, sighting.path, sighting.size_bytes, sighting.mtime_ns)
        retry = self._retries.pop(sighting.path, None)
        if retry is not None and retry != arrival:
            self._forget(retry)
        (self._backlog if by_scan else self._fresh).append(_Ready(arrival, sighting.ctime_ns, by_scan))
