"""Waiting for a condition with a deadline, so that no test sleeps for luck."""

import time
from collections.abc import Callable
from typing import TypeVar

Found = TypeVar("Found")


def wait_until(condition: Callable[[], Found], what: str, seconds: float = 10.0, every: float = 0.02) -> Found:
    """Return the first true value that `condition` gives; AssertionError naming `what` when there is none in time."""
    deadline = time.monotonic() + seconds
    while True:
        if found := condition():
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds:g} s in vain: {what}")
        time.sleep(every)
