"""A stand-in for workers where the watcher is the subject: takes every message, does nothing with the file but remove it.

It goes through the same leases as a worker, so the watcher sees no difference; an image costs it a third of a millisecond.
"""

import base64
import json
import threading
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

from redis import Redis

from servers import RedisServer
from tasks.leases import End, Leases
from tasks.messages import from_message

_QUEUE = "thumbdrop"
_AT_ONCE = 16


class Sink:
    """Takes messages from a Redis broker in a thread, from `with` to its end; `keep` leaves the files, as `after = "keep"` does.

    `taken` are (inbox, path) in the order of the queue.
    """

    def __init__(self, server: RedisServer, roots: Mapping[str, Path], *, keep: bool = False) -> None:
        self.taken: list[tuple[str, str]] = []
        self._roots = roots
        self._keep = keep
        self._queue: Redis = server.client(0)
        self._leases = Leases(server.client(1), task_time_seconds=60)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sink")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._thread.join(10)

    @property
    def doubled(self) -> list[tuple[str, str]]:
        """What was published more than once."""
        return [one for one, times in Counter(self.taken).items() if times > 1]

    def _run(self) -> None:
        while not self._stopping.is_set():
            texts = cast("list[str] | None", self._queue.rpop(_QUEUE, _AT_ONCE))
            for text in texts or ():
                self._end(json.loads(text))
            if not texts:
                time.sleep(0.005)

    def _end(self, message: dict[str, Any]) -> None:
        _, kwargs, _ = json.loads(base64.b64decode(message["body"]))
        arrival, token = from_message(kwargs)
        self.taken.append((arrival.inbox, arrival.path))
        if self._leases.begin(arrival, token) is None:
            return
        if not self._keep:
            (self._roots[arrival.inbox] / arrival.path).unlink(
                missing_ok=True
            )  # else it was published twice; `doubled` tells
        self._leases.finish([End(arrival, token, ["done"], keep=self._keep)])
