"""Directories of an inbox that could not be watched: told once, shown while it lasts, and tried again when it may be over.

What a reader would get wrong: nothing is lost by this. The inbox is scanned in short intervals for as long.
"""

import errno
import os

from config.logs import get_logger
from watcher.watch_limits import remedy_for, watch_limit

log = get_logger(__name__)

LOOK_SECONDS = 5.0  # between two looks whether the limit was raised
TRY_SECONDS = 600.0  # until the next try anyway: other programs end, modes change


class Shortage:
    """The shortage of one inbox; true while there is one. Times are monotonic seconds."""

    def __init__(self, inbox: str) -> None:
        self._inbox = inbox
        self._first = ""
        self._missing = 0
        self._watched = 0
        self._error = errno.ENOSPC
        self._is_told = False
        self._limit = 0
        self._look_at = 0.0
        self._try_at = 0.0

    def __bool__(self) -> bool:
        return bool(self._first)

    def begin(self) -> None:
        """The watches are made anew: count from nothing."""
        self._first, self._missing, self._watched = "", 0, 0

    def add(self, directory: str, count: int, watched: int, now: float) -> None:
        """So many more directories got no watch, that one first."""
        self._first = self._first or directory
        self._missing += count
        self._watched = watched
        self._tell(errno.ENOSPC, now)

    def refused(self, code: int, now: float) -> None:
        """Not even the root got a watch; `code` is an errno: ENOSPC (no watches), EMFILE (no instances), or worse."""
        self._first = "."
        self._tell(code, now)

    def may_be_over(self, now: float) -> bool:
        """Whether it is worth trying again."""
        if not self or now < self._look_at:
            return False
        self._look_at = now + LOOK_SECONDS
        return now >= self._try_at or watch_limit() > self._limit

    def is_over(self) -> bool:
        """Tell, once, that a shortage has ended."""
        was_told, self._is_told = self._is_told, bool(self) and self._is_told
        return was_told and not self._is_told

    def words(self) -> list[str]:
        """What `status` has to show."""
        if not self:
            return []
        needed = self._watched + self._missing
        watched = f"{self._watched} of {needed} directories are watched" if needed else os.strerror(self._error)
        return [f"polled, for want of watches: {watched}; {remedy_for(self._error, needed)}"]

    def _tell(self, code: int, now: float) -> None:
        self._error = code
        self._limit, self._look_at, self._try_at = watch_limit(), now + LOOK_SECONDS, now + TRY_SECONDS
        if self._is_told:
            return
        self._is_told = True
        needed = self._watched + self._missing
        log.warning(
            "watch.short",
            inbox=self._inbox,
            directory=self._first,
            watched=self._watched,
            needed=needed or "unknown",
            limit=self._limit,
            error=os.strerror(code),
            hint=remedy_for(code, needed),
        )
