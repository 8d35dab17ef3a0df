"""What is in flight: the arrivals that this watcher published and whose lease it has not yet seen end.

Bounded by `max_in_flight`. Time comes in as a number; Redis is asked through the leases. What a reader would get
wrong: a message can be lost between the broker and a worker without anybody knowing, so a published arrival whose
queue has long been empty counts as lost.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from config.logs import get_logger
from tasks.leases import Leases
from tasks.messages import Arrival

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Flight:
    arrival: Arrival
    token: str
    since: float


class Flights:
    """The arrivals in flight, and what the broker's queue says about them.

    `lost_after_seconds` is longer than any task may take: a queue that was empty for so long holds no message.
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
        gone = [
            self._flights[arrival_id].arrival
            for arrival_id, state in zip(ids, self._leases.states(ids), strict=True)
            if not state or (state == "published" and self._is_lost(self._flights[arrival_id], now))
        ]
        for arrival in gone:
            del self._flights[arrival.id]
        adopted = list(self._adopted)
        self._adopted = {i for i, state in zip(adopted, self._leases.states(adopted), strict=True) if state}
        return gone

    def _is_lost(self, flight: _Flight, now: float) -> bool:
        if now - max(flight.since, self._queue_filled_at) < self._lost_after:
            return False
        log.warning("message.lost", inbox=flight.arrival.inbox, path=flight.arrival.path)
        self._leases.withdraw(flight.arrival, flight.token)
        return True
