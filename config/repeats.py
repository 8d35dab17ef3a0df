"""Repeated trouble: said at once, then counted once a minute, then closed with how long it lasted.

Pure: time comes in as a number of seconds, preferably of the monotonic clock. It only says when to speak; the words are
the caller's:

    if times := trouble.happened(now):
        log.warning("broker.refused", times=times)
    if ended := trouble.recovered(now):
        log.info("broker.recovered", times=ended.times, seconds=ended.seconds)
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Ended:
    """A trouble that is over: how often it happened in all, and the seconds from the first time to the recovery."""

    times: int
    seconds: float


class Repeated:
    """One trouble that may happen a thousand times a second and is logged once a minute."""

    def __init__(self, every_seconds: float = 60) -> None:
        self._every_seconds = every_seconds
        self._times = 0
        self._said_times = 0
        self._first_at = 0.0
        self._said_at = 0.0

    def happened(self, now: float) -> int:
        """Count one more; returns how many are to be told of now: 1 at first, 0 within the minute, then all since."""
        if not self._times:
            self._first_at = now
        self._times += 1
        if self._times > 1 and now - self._said_at < self._every_seconds:
            return 0
        untold = self._times - self._said_times
        self._said_at, self._said_times = now, self._times
        return untold

    def recovered(self, now: float) -> Ended | None:
        """Close the trouble; None when there was none, so it may be called after every success."""
        if not self._times:
            return None
        ended = Ended(self._times, now - self._first_at)
        self._times = self._said_times = 0
        return ended
