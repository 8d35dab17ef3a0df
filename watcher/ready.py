"""Arrivals that are complete and wait for a free slot: each path once, in the order in which they are to go out.

Pure. What a reader would get wrong: an arrival that went out stays known here until its lease has ended, because a scan
that saw its file before a worker took it away would otherwise publish it once more.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Literal

from tasks.messages import Arrival

# Fresh drops first, then what stood there longer. What had been put off has a lane of its own, so that a thousand bad
# files cost the good ones every eighth slot at most. Beside an endless stream of fresh ones both others get every eighth.
Lane = Literal["fresh", "backlog", "retry"]
TURN_EVERY = 8
_ORDER: tuple[Lane, ...] = ("fresh", "backlog", "retry")
_TURNS: dict[int, tuple[Lane, ...]] = {0: ("retry", "fresh", "backlog"), 4: ("backlog", "fresh", "retry")}


@dataclass(frozen=True, slots=True)
class Complete:
    """An arrival that may go out; `by_scan`: no event brought it, so hearing is asked about its ctime."""

    arrival: Arrival
    ctime_ns: int
    by_scan: bool


class Ready:
    """The lanes of one inbox."""

    def __init__(self) -> None:
        self._lanes: dict[Lane, OrderedDict[str, Complete]] = {
            lane: OrderedDict() for lane in ("fresh", "backlog", "retry")
        }
        self._out: dict[str, Complete] = {}
        self._turns = 0

    def __len__(self) -> int:
        return sum(map(len, self._lanes.values()))

    @property
    def fresh(self) -> int:
        """How many fresh arrivals wait."""
        return len(self._lanes["fresh"])

    def add(self, complete: Complete, lane: Lane) -> None:
        """Take in what is complete; what was known of its path is replaced. An arrival that is out is left alone."""
        path = complete.arrival.path
        lane = "fresh" if path in self._lanes["fresh"] else lane
        if complete.arrival.id not in self._out:
            self.drop(path)
            self._lanes[lane][path] = complete

    def drop(self, path: str) -> None:
        """Forget a path: its file is gone."""
        for lane in self._lanes.values():
            lane.pop(path, None)

    def take(self) -> Arrival | None:
        """The next one to go out; `came_back` must follow once it is known what became of it."""
        self._turns += 1
        order = _TURNS.get(self._turns % TURN_EVERY, _ORDER)
        filled = next((self._lanes[lane] for lane in order if self._lanes[lane]), None)
        if filled is None:
            return None
        _, complete = filled.popitem(last=False)
        self._out[complete.arrival.id] = complete
        return complete.arrival

    def out(self, arrival: Arrival) -> Complete | None:
        """What is known of an arrival that is out."""
        return self._out.get(arrival.id)

    def came_back(self, arrival: Arrival) -> None:
        """Note that an arrival did not go out, or that its lease has ended."""
        self._out.pop(arrival.id, None)

    def empty(self) -> list[str]:
        """Give up all lanes; the paths that were in them. What is out stays known."""
        paths = [path for lane in self._lanes.values() for path in lane]
        for lane in self._lanes.values():
            lane.clear()
        return paths
