"""One inbox of the watcher with its real tree and real inotify, stepped by hand on the real clock; no Redis, no workers."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from config.settings import Settings
from tasks.messages import Arrival
from waiting import wait_until
from watcher.hints import Hints
from watcher.inbox import Inbox


class Rig:
    """One inbox that is stepped by hand on the real clock."""

    def __init__(self, root: Path, **options: object) -> None:
        self.root = root
        root.mkdir(exist_ok=True)
        settings = Settings.model_validate(
            {"inbox": [{"path": str(root), "name": "inbox", "settle": "200ms"} | options], "watcher": {"rescan": "1h"}}
        )
        self.forgotten: list[Arrival] = []
        self.hints = Hints(lambda: None)
        self.inbox = Inbox(settings.inbox[0], settings, self.hints, self.forgotten.append)
        self.ready: list[str] = []
        self.taken: list[Arrival] = []

    def step(self) -> None:
        """One pass, with the events that came in since the last one."""
        now, now_ns = time.monotonic(), time.time_ns()
        hints, troubles = self.hints.drain()
        for trouble in troubles:
            self.inbox.trouble(trouble, now)
        for hint in hints:
            self.inbox.hinted(hint, now)
        self.inbox.step(now, now_ns, 0.1)
        taken = self.inbox.take(100)
        self.taken += taken
        self.ready += [arrival.path for arrival in taken]

    def steps(self, seconds: float) -> list[str]:
        """Step for so long; what has become ready altogether."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.step()
            time.sleep(0.01)
        return self.ready

    def step_until(self, condition: Callable[[], bool], what: str, seconds: float = 10.0) -> None:
        """Step until a condition holds."""

        def holds() -> bool:
            self.step()
            return condition()

        wait_until(holds, what, seconds)

    def wait_ready(self, *paths: str, seconds: float = 10.0) -> None:
        """Step until exactly these have become ready."""

        self.step_until(lambda: set(paths) <= set(self.ready), f"{paths} ready", seconds)
        assert sorted(self.ready) == sorted(paths)

    def online(self) -> "Rig":
        """Step until armed and scanned."""
        self.step_until(lambda: self.inbox.is_online and self.inbox.is_idle, "online and scanned")
        return self

    def publish_all(self) -> None:
        """Tell the inbox that all that was taken went out."""
        for arrival in self.taken:
            self.inbox.answered(arrival, time.monotonic(), published=True)
        self.taken = []

    def close(self) -> None:
        """End all looking and all threads."""
        self.inbox.close()
        self.hints.close()

    def report(self) -> dict[str, Any]:
        """What `status` would be told."""
        return self.inbox.report(time.monotonic(), time.time())
