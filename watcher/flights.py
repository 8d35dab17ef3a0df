"""What is in flight: the arrivals that this watcher published and whose lease it has not yet seen end.

Bounded by `max_in_flight`. Time comes in as a number; Redis is asked through the leases. What a reader would get
wrong: a message can be lost between the broker and a worker without anybody knowing, so a published arrival counts as
lost when the queue has long been empty, or when a later one was long since taken from it.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from config.logs import get_logger
from tasks.leases import Leases
from tasks.messages import Arrival

log = get_logger(__name__)


@dataclass(slots=True)
class _Flight:
    arrival: Arrival
    token: str
    since: float
    overtaken_at: float = math.inf  # when one that was published later was first seen taken


class Flights:
    """The arrivals in flight, and what the broker's queue says about them.

    `lost_after_seconds` is longer than any task may take, and with that than a worker holds a message in advance.
    """

    def __init__(self, leases: Leases, max_in_flight: int, lost_after_seconds: float) -> None:
        self._leases = leases
        self._max = max_in_flight
        self._lost_after = lost_after_seconds
        self._flights: dict[str, _Flight] = {}
        self._adopted: set[str] = set()  # at work for a predecessor: they fill the window until they end
        self._queue_filled_at = 0.0
        self.queue_is_full = False

    def __len__(self) -> int:
        return len(self._flights) + len(self._adopted)

    @property
    def need_depth(self) -> bool:
        """Whether the queue's depth would tell anything now."""
        return bool(self._flights) or self.queue_is_full

    def add(self, arrival: Arrival, token: str, now: float) -> None:
        """Remember a message that the broker took at monotonic time `now`."""
        self._flights[arrival.id] = _Flight(arrival, token, now)

    def adopt(self, ids: Iterable[str]) -> None:
        """Count leases that a predecessor left, by arrival id, until they end."""
        self._adopted.update(set(ids) - self._flights.keys())

    def measured(self, depth: int | None, now: float) -> None:
        """Take note of how many messages wait; None when the broker does not say, and then nothing counts as lost.

        More than twice the window means that nobody works on them: publishing more would only fill the queue.
        """
        if depth != 0:
            self._queue_filled_at = now
        if depth is not None:
            self.queue_is_full = depth > 2 * self._max

    def ended(self, now: float) -> list[Arrival]:
        """Forget and return the arrivals whose lease is gone or whose message is lost."""
        ids = list(self._flights)
        states = dict(zip(ids, self._leases.states(ids), strict=True))
        self._note_overtaken(states, now)
        gone = [
            flight.arrival
            for arrival_id, flight in self._flights.items()
            if not states[arrival_id] or (states[arrival_id] == "published" and self._is_lost(flight, now))
        ]
        for arrival in gone:
            del self._flights[arrival.id]
        adopted = list(self._adopted)
        self._adopted = {i for i, state in zip(adopted, self._leases.states(adopted), strict=True) if state}
        return gone

    def _note_overtaken(self, states: Mapping[str, str], now: float) -> None:
        taken = (self._flights[arrival_id].since for arrival_id, state in states.items() if state != "published")
        latest = max(taken, default=-math.inf)
        for arrival_id, state in states.items():
            flight = self._flights[arrival_id]
            if state == "published" and flight.since < latest:
                flight.overtaken_at = min(flight.overtaken_at, now)

    def _is_lost(self, flight: _Flight, now: float) -> bool:
        nowhere_since = min(max(flight.since, self._queue_filled_at), flight.overtaken_at)
        if now - nowhere_since < self._lost_after:
            return False
        log.warning("message.lost", inbox=flight.arrival.inbox, path=flight.arrival.path)
        self._leases.withdraw(flight.arrival, flight.token)
        return True
