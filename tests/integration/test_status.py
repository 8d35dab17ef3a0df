"""`thumbdrop status` with a real Redis: present, absent and hung."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from config.load import load
from config.settings import Settings
from servers import RedisServer
from tasks.errors import BlockedError, TransientError, TruncatedError
from tasks.leases import Leases
from tasks.messages import Arrival
from watcher.standing import count_standing
from watcher.status import Status, look_at_everything
from watcher.status_text import status_lines

ARRIVAL = Arrival("photos", "a/b.jpg", 10, 5)


@pytest.fixture
def settings(tmp_path: Path, redis_server: RedisServer) -> Settings:
    redis_server.flush()
    (tmp_path / "inbox").mkdir()
    (tmp_path / "library").mkdir()
    return load(
        environ={},
        overrides={
            "inbox": [{"path": str(tmp_path / "inbox"), "name": "photos"}],
            "library": {"path": str(tmp_path / "library")},
            "broker": {"url": redis_server.broker_url},
            "results": {"url": redis_server.results_url},
        },
    ).settings


@pytest.fixture
def leases(redis_server: RedisServer) -> Iterator[Leases]:
    with redis_server.client(database=1) as client:
        yield Leases(client, task_time_seconds=60)


def timed(settings: Settings) -> tuple[Status, float]:
    started_at = time.monotonic()
    status = look_at_everything(settings)
    return status, time.monotonic() - started_at


def test_it_counts_what_stands_in_the_inbox_by_itself(settings: Settings) -> None:
    root = settings.inbox[0].path
    (root / "folder").mkdir()
    for name in ("a.jpg", "folder/b.png", "notes.txt", ".hidden.jpg"):
        (root / name).write_text("x")
    os.symlink("/etc/passwd", root / "link.jpg")
    (inbox,) = look_at_everything(settings).inboxes
    assert inbox.waiting == 2
    assert inbox.oldest_waiting_at == pytest.approx(time.time(), abs=60)


def test_files_that_stay_when_they_are_done_are_not_counted_as_waiting(settings: Settings, tmp_path: Path) -> None:
    overrides = {"inbox": [{"path": str(tmp_path / "inbox"), "name": "photos", "after": "keep"}]}
    kept = settings.model_copy(update={"inbox": load(environ={}, overrides=overrides).settings.inbox})
    (tmp_path / "inbox" / "a.jpg").write_text("x")
    (inbox,) = look_at_everything(kept).inboxes
    assert inbox.waiting is None


def test_a_count_that_takes_too_long_tells_how_far_it_came(settings: Settings) -> None:
    for number in range(3_000):
        (settings.inbox[0].path / f"{number}.jpg").touch()
    whole, begun = count_standing(settings.inbox[0], 30.0), count_standing(settings.inbox[0], 0.001)
    assert (whole.files, whole.has_more) == (3_000, False)
    assert begun.has_more
    assert begun.files is not None
    assert begun.files < 3_000


def test_more_files_that_were_put_off_than_are_looked_at_are_counted_all_the_same(
    settings: Settings, leases: Leases
) -> None:
    for number in range(1_003):
        arrival = Arrival("photos", f"{number}.jpg", 10, 5)
        (verdict,) = leases.offer([arrival])
        leases.begin(arrival, verdict.token)
        leases.put_off(arrival, verdict.token, TruncatedError("cut off"), 60)
    status = look_at_everything(settings)
    (inbox,) = status.inboxes
    assert [(group.reason, group.count) for group in inbox.put_off] == [("truncated", 1_000)]
    assert inbox.put_off_total == 1_003
    assert ("  put off", "3 more, which are tried later", True) in list(status_lines(status))


def test_what_redis_knows_is_told(settings: Settings, leases: Leases) -> None:
    leases.report("photos", {"host": "vm", "pid": 7, "state": "watching", "backend": "poll", "why": "set"}, 30)
    (verdict, _) = leases.offer([ARRIVAL, Arrival("photos", "c.jpg", 1, 1)])
    leases.begin(ARRIVAL, verdict.token)
    leases.put_off(ARRIVAL, verdict.token, TransientError("weather"), 60)
    leases.redis.hset("thumbdrop:beat", "sweep", int(time.time()))
    status = look_at_everything(settings)
    (inbox,) = status.inboxes
    assert (inbox.state, inbox.backend, inbox.published, inbox.working) == ("watching", "poll", 1, 0)
    assert [(group.reason, group.count) for group in inbox.put_off] == [("io_error", 1)]
    assert status.beat["sweep"] == pytest.approx(time.time(), abs=5)
    assert status.problems == ("no worker answers",)


def test_what_somebody_has_to_mend_is_a_problem_and_what_mends_itself_is_none(
    settings: Settings, leases: Leases
) -> None:
    leases.report("photos", {"state": "watching", "unreadable": ["closed: Permission denied"]}, 30)
    cut = Arrival("photos", "cut.jpg", 1, 1)
    for arrival, why in ((ARRIVAL, BlockedError("a/b.jpg has mode 0000")), (cut, TruncatedError("it is cut off"))):
        (verdict,) = leases.offer([arrival])
        leases.begin(arrival, verdict.token)
        leases.put_off(arrival, verdict.token, why, 60)
    assert look_at_everything(settings).problems == (
        "no worker answers",
        "inbox photos: cannot look at closed: Permission denied",
        "inbox photos: a/b.jpg has mode 0000",
    )


def test_a_store_that_takes_nothing_is_a_problem_although_it_answers(
    settings: Settings, redis_server: RedisServer
) -> None:
    with redis_server.client() as client:
        client.config_set("maxmemory", 1)
        try:
            status = look_at_everything(settings)
        finally:
            client.config_set("maxmemory", 0)
    assert not status.results_error
    assert any("refuses to write" in problem for problem in status.problems)


def test_a_missing_inbox_is_offline_whatever_the_watcher_says(settings: Settings, leases: Leases) -> None:
    leases.report("photos", {"state": "watching"}, 30)
    settings.inbox[0].path.rmdir()
    status = look_at_everything(settings)
    assert any("is missing" in problem for problem in status.problems)


def test_it_answers_within_three_seconds_when_redis_hangs(settings: Settings, redis_server: RedisServer) -> None:
    os.kill(redis_server.pid, signal.SIGSTOP)
    try:
        status, seconds = timed(settings)
    finally:
        os.kill(redis_server.pid, signal.SIGCONT)
    assert seconds < 3.5
    assert status.broker_error
    assert status.results_error
    assert status.inboxes[0].waiting == 0, "the disk has answered"


def test_it_answers_at_once_when_nothing_listens(tmp_path: Path) -> None:
    overrides = {"inbox": [{"path": str(tmp_path / "inbox")}], "library": {"path": str(tmp_path / "library")}}
    status, seconds = timed(load(environ={}, overrides=overrides).settings)
    assert seconds < 2.5
    assert "`thumbdrop up` runs it" in status.broker_error
    assert "`thumbdrop up` runs it" in status.results_error
