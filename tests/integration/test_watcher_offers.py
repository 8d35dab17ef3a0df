"""What the watcher's loop offers to its publisher, with a real Redis and no worker."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from config.load import load
from servers import RedisServer
from waiting import wait_until
from watcher.daemon import Watcher
from watcher.inbox import Inbox


@contextmanager
def watcher_of(folder: Path, redis: RedisServer) -> Iterator[Watcher]:
    inbox, library = {"path": str(folder / "inbox"), "settle": "10ms"}, {"path": str(folder / "library")}
    stores = {"broker": {"url": redis.broker_url}, "results": {"url": redis.results_url}}
    settings = load(environ={}, overrides={"inbox": [inbox], "library": library, **stores}).settings
    watcher = Watcher(settings)
    watcher.publisher.start()
    try:
        yield watcher
    finally:
        watcher.close()


def ready(inbox: Inbox) -> int:
    return int(inbox.report(time.monotonic(), time.time())["waiting"]["ready"])


def step(watcher: Watcher) -> None:
    watcher.step(time.monotonic(), time.time_ns())


def test_what_is_in_flight_does_not_pile_up_before_what_a_scan_finds_next(
    tmp_path: Path, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    redis_server.flush()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "inbox").mkdir()
    for number in range(10):
        (tmp_path / "inbox" / f"{number}.jpg").write_bytes(b"x")
    with watcher_of(tmp_path, redis_server) as watcher:
        (inbox,) = watcher.inboxes.values()

        def are_published() -> bool:
            step(watcher)
            return watcher.publisher.in_flight == 10

        wait_until(are_published, "all are published")
        inbox.want_scan()

        def has_scanned() -> bool:
            step(watcher)
            return inbox.is_idle or ready(inbox) > 0

        wait_until(has_scanned, "a second scan has ended")
        step(watcher)
        assert ready(inbox) == 0, "or they are published again when their work has ended"
