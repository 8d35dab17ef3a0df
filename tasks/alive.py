"""Feeds systemd's watchdog from the event loop of the worker's main process: a step of Celery's consumer.

While the loop takes messages it has to turn. Without a broker it stands still for a good reason, perhaps for a night, and
so it does while the last images are finished: for that time systemd is asked for patience (WATCHDOG_USEC of sd_notify(3)).
"""

import os
from collections.abc import Mapping
from typing import Any

from celery import bootsteps
from celery.worker.consumer.tasks import Tasks

from config.notify import notify_systemd

PATIENCE_SECONDS = 86_400


def watchdog_seconds(environ: Mapping[str, str] = os.environ) -> float:
    """Within what time systemd wants to hear of this very process (sd_watchdog_enabled(3)); 0: not at all."""
    if environ.get("WATCHDOG_PID") != str(os.getpid()):
        return 0.0
    return int(environ.get("WATCHDOG_USEC", "0")) / 1e6


class AliveStep(bootsteps.StartStopStep):
    """Started whenever the worker begins to take messages, stopped whenever it loses its broker, and when it ends."""

    requires = (Tasks,)

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        self._seconds = watchdog_seconds()
        self._timer: Any = None

    def start(self, parent: Any) -> None:
        """From now on the loop has to turn: each turn of a timer in it is a sign that it does."""
        _say("taking messages", self._seconds)
        if self._seconds:
            self._timer = parent.timer.call_repeatedly(self._seconds / 4, notify_systemd, ("WATCHDOG=1",))

    def stop(self, parent: Any) -> None:  # noqa: ARG002 - as Celery calls it
        """The loop may stand still."""
        _say("takes no messages: it waits for the broker, or is about to stop", self._seconds and PATIENCE_SECONDS)
        if self._timer:
            self._timer.cancel()
            self._timer = None

    terminate = stop


def _say(status: str, watchdog: float) -> None:
    notify_systemd("\n".join([f"STATUS={status}", *([f"WATCHDOG_USEC={watchdog * 1e6:.0f}"] if watchdog else [])]))
