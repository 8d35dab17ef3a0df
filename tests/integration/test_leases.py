"""Leases, attempts and retry records against a real Redis: who wins, what is counted, and what a wipe costs."""

import json
import time
from collections.abc import Iterator

import pytest
from celery import Celery
from redis import Redis

from config.urls import celery_url
from servers import RedisServer
from tasks.errors import GoneError, IngestError, Reason, ResourceError, TransientError
from tasks.leases import End, Leases
from tasks.messages import Arrival
from waiting import wait_until

ARRIVAL = Arrival("inbox", "a/b.jpg", 10, 5)
OTHER = Arrival("inbox", "c.jpg", 11, 6)
CRASH = IngestError(Reason.CRASHED_WORKER, "signal 11")


@pytest.fixture
def leases(redis_server: RedisServer) -> Iterator[Leases]:
    redis_server.flush()
    with redis_server.client() as client:
        yield Leases(client, task_time_seconds=60)


def test_what_is_stored_with_the_end_is_a_result_to_celery_and_a_later_end_replaces_it(
    leases: Leases, redis_server: RedisServer
) -> None:
    with Celery(backend=celery_url(redis_server.broker_url), set_as_current=False) as app:
        for number in range(2):
            token = published(leases)
            assert leases.begin(ARRIVAL, token) is not None
            outcome = {"outcome": "whatever", "slot": "caf\udce9", "duration_ms": number}
            if number == 0:
                assert leases.put_off(ARRIVAL, token, TransientError("weather"), 0, outcome=outcome)
            else:
                leases.finish([End(ARRIVAL, token, ["done"], outcome=outcome)])
            stored = app.backend.get_task_meta(ARRIVAL.id, cache=False)
            assert (stored["status"], stored["result"], stored["task_id"]) == ("SUCCESS", outcome, ARRIVAL.id)
    assert 0 < leases.redis.ttl(f"celery-task-meta-{ARRIVAL.id}") <= 86400


def test_who_waits_for_the_result_is_told(leases: Leases) -> None:
    with leases.redis.pubsub(ignore_subscribe_messages=True) as waiting:
        waiting.subscribe(f"celery-task-meta-{ARRIVAL.id}")
        token = published(leases)
        leases.begin(ARRIVAL, token)
        leases.finish([End(ARRIVAL, token, ["done"], outcome={"outcome": "done"})])
        told = wait_until(lambda: waiting.get_message(timeout=0.1), "it is told", 5)
    assert json.loads(told["data"])["result"] == {"outcome": "done"}


def test_a_message_that_comes_once_more_for_a_file_that_is_done_does_not_make_its_result_worse(leases: Leases) -> None:
    for end in ("done", "gone"):
        token = published(leases)
        leases.begin(ARRIVAL, token)
        if end == "done":
            leases.finish([End(ARRIVAL, token, ["done"], outcome={"outcome": end})])
        else:
            leases.put_off(ARRIVAL, token, GoneError("not there"), 0, outcome={"outcome": end})
    assert json.loads(leases.redis.get(f"celery-task-meta-{ARRIVAL.id}"))["result"] == {"outcome": "done"}


def test_an_attempt_that_lost_its_lease_leaves_no_result(leases: Leases) -> None:
    assert not leases.put_off(ARRIVAL, "not ours", TransientError("weather"), 0, outcome={"outcome": "put_off"})
    assert leases.redis.keys("celery*") == []


def test_a_redis_without_memory_for_the_result_lets_the_work_end(leases: Leases) -> None:
    token = published(leases)
    leases.begin(ARRIVAL, token)
    leases.redis.config_set("maxmemory", 1)
    try:
        leases.finish([End(ARRIVAL, token, ["done"], outcome={"outcome": "done"})])
    finally:
        leases.redis.config_set("maxmemory", 0)
    assert leases.states([ARRIVAL.id]) == [""]
    assert leases.record(ARRIVAL).attempts == 0


def test_a_user_of_redis_who_may_not_publish_can_end_the_work(leases: Leases, redis_server: RedisServer) -> None:
    leases.redis.acl_setuser(
        "worker", enabled=True, passwords=["+word"], keys="*", commands=["+@all"], reset_channels=True
    )
    try:
        with Redis(
            unix_socket_path=str(redis_server.socket), username="worker", password="word", decode_responses=True
        ) as client:
            token = published(leases)
            theirs = Leases(client, task_time_seconds=60)
            theirs.begin(ARRIVAL, token)
            theirs.finish([End(ARRIVAL, token, ["done"], outcome={"outcome": "done"})])
    finally:
        leases.redis.acl_deluser("worker")
    assert leases.states([ARRIVAL.id]) == [""]
    assert leases.redis.exists(f"celery-task-meta-{ARRIVAL.id}")


def published(leases: Leases, arrival: Arrival = ARRIVAL) -> str:
    (verdict,) = leases.offer([arrival])
    assert verdict.state == "published"
    return verdict.token


def states(leases: Leases, *arrivals: Arrival) -> list[str]:
    return [verdict.state for verdict in leases.offer(arrivals)]


def test_an_arrival_is_leased_once(leases: Leases) -> None:
    assert states(leases, ARRIVAL, ARRIVAL, OTHER) == ["published", "leased", "published"]


def test_a_withdrawn_lease_is_free_again_but_only_its_owner_can_withdraw_it(leases: Leases) -> None:
    token = published(leases)
    assert not leases.withdraw(ARRIVAL, "another token")
    assert states(leases, ARRIVAL) == ["leased"]
    assert leases.withdraw(ARRIVAL, token)
    assert states(leases, ARRIVAL) == ["published"]


def test_a_message_whose_lease_another_holds_is_dropped(leases: Leases) -> None:
    token = published(leases)
    assert leases.begin(ARRIVAL, "a token that lost") is None
    assert leases.begin(ARRIVAL, token) is not None
    assert leases.begin(ARRIVAL, token) is None, "the same message delivered twice"


def test_a_message_is_worked_on_after_a_wipe_of_redis(leases: Leases) -> None:
    token = published(leases)
    leases.redis.flushall()
    assert leases.begin(ARRIVAL, token) is not None


def test_every_beginning_is_counted_before_its_end_is_known(leases: Leases) -> None:
    for vanished in range(3):
        leases.redis.delete(f"thumbdrop:lease:{ARRIVAL.id}")  # as if the worker had been killed and the lease had ended
        record = leases.begin(ARRIVAL, published(leases))
        assert record is not None
        assert record.vanished == vanished


def test_a_named_outcome_takes_the_attempt_back_and_a_crash_moves_it(leases: Leases) -> None:
    token = published(leases)
    leases.begin(ARRIVAL, token)
    assert leases.put_off(ARRIVAL, token, TransientError("weather"), 0)
    token = published(leases)
    record = leases.begin(ARRIVAL, token)
    assert record is not None
    assert record.attempts == 0
    assert (record.reason, record.message, record.tries) == ("io_error", "weather", 1)
    assert leases.put_off(ARRIVAL, token, CRASH, 0, failed="crashed")
    assert (leases.record(ARRIVAL).crashed, leases.record(ARRIVAL).vanished) == (1, 0)


def test_the_attempt_of_a_worker_that_is_told_to_stop_is_taken_back_once(leases: Leases) -> None:
    for _ in range(12):
        token = published(leases)
        record = leases.begin(ARRIVAL, token)
        assert record is not None
        assert record.vanished == 0
        assert leases.excuse(ARRIVAL, token)
        assert leases.excuse(ARRIVAL, token)
        assert leases.states([ARRIVAL.id]) == ["working"], "the work goes on"
        leases.redis.delete(f"thumbdrop:lease:{ARRIVAL.id}")  # killed after all, and the lease has ended
    assert not leases.excuse(ARRIVAL, token)
    leases.begin(ARRIVAL, published(leases))
    assert leases.record(ARRIVAL).vanished == 1, "the next attempt is not excused with it"


def test_a_child_that_was_killed_while_its_worker_stops_counts_for_nothing(leases: Leases) -> None:
    token = published(leases)
    leases.begin(ARRIVAL, token)
    leases.excuse(ARRIVAL, token)
    assert leases.put_off(ARRIVAL, token, TransientError("killed"), 0, failed="vanished")
    assert leases.record(ARRIVAL).attempts == 0
    token = published(leases)
    leases.begin(ARRIVAL, token)
    assert leases.put_off(ARRIVAL, token, TransientError("killed"), 0, failed="vanished")
    assert leases.record(ARRIVAL).attempts == 1


def test_work_that_was_given_back_need_not_wait_for_the_end_of_its_lease(leases: Leases) -> None:
    token = published(leases)
    leases.begin(ARRIVAL, token)
    assert not leases.give_back(ARRIVAL, "another token")
    leases.excuse(ARRIVAL, token)
    assert leases.give_back(ARRIVAL, token)
    assert leases.record(ARRIVAL).attempts == 0
    assert leases.in_flight("inbox") == {}
    assert states(leases, ARRIVAL) == ["published"]


def test_a_file_that_was_put_off_waits_and_is_due_by_redis_own_clock(leases: Leases) -> None:
    token = published(leases)
    leases.begin(ARRIVAL, token)
    leases.put_off(ARRIVAL, token, TransientError("weather"), 0.3)
    (verdict,) = leases.offer([ARRIVAL])
    assert verdict.state == "waiting"
    assert 0 < verdict.wait_seconds <= 0.3
    assert leases.due("inbox", 10) == []
    wait_until(lambda: leases.due("inbox", 10) == [ARRIVAL], "due")
    published(leases)
    assert leases.due("inbox", 10) == [], "what is in flight is not due"


def test_tries_and_first_time_start_again_with_another_reason(leases: Leases) -> None:
    for why in (TransientError("one"), TransientError("two"), CRASH):
        token = published(leases)
        leases.begin(ARRIVAL, token)
        leases.put_off(ARRIVAL, token, why, 0)
    record = leases.record(ARRIVAL)
    assert (record.reason, record.tries) == ("crashed_worker", 1)
    assert record.first_at == pytest.approx(time.time(), abs=60)


def test_the_end_of_an_arrival_leaves_nothing_but_a_count(leases: Leases) -> None:
    token = published(leases)
    leases.begin(ARRIVAL, token)
    leases.put_off(ARRIVAL, token, TransientError("weather"), 0)
    token = published(leases)
    leases.begin(ARRIVAL, token)
    leases.finish([End(ARRIVAL, token, ["done"])])
    assert leases.redis.keys("*") == ["thumbdrop:counts"]
    assert leases.counts() == {"done": 1}


def test_a_kept_file_is_never_published_again(leases: Leases) -> None:
    token = published(leases)
    leases.begin(ARRIVAL, token)
    leases.finish([End(ARRIVAL, token, ["done"], keep=True)])
    assert states(leases, ARRIVAL, OTHER) == ["kept", "published"]


def test_a_worker_that_lost_its_lease_cannot_put_the_arrival_off(leases: Leases) -> None:
    token = published(leases)
    leases.begin(ARRIVAL, token)
    leases.redis.delete(f"thumbdrop:lease:{ARRIVAL.id}")
    later = published(leases)
    assert not leases.put_off(ARRIVAL, token, TransientError("weather"), 0)
    leases.finish([End(ARRIVAL, token, ["done"])])
    assert leases.states([ARRIVAL.id]) == ["published"], "the later lease stands"
    assert leases.begin(ARRIVAL, later) is not None


def test_leases_always_expire(leases: Leases) -> None:
    token = published(leases)
    key = f"thumbdrop:lease:{ARRIVAL.id}"
    assert 590 < leases.redis.ttl(key) <= 600
    leases.begin(ARRIVAL, token)
    assert 60 < leases.redis.ttl(key) <= 70


def test_a_paused_library_holds_everything_back_and_goes_on_by_itself(leases: Leases) -> None:
    leases.pause(ResourceError(Reason.NO_SPACE, "full", "free some"))
    assert states(leases, ARRIVAL) == ["paused"]
    assert leases.paused() == {"reason": "no_space", "message": "full", "hint": "free some"}
    assert 0 < leases.redis.ttl("thumbdrop:pause") <= 10


def test_one_watcher_holds_an_inbox_and_the_next_forgets_what_it_had_published(leases: Leases) -> None:
    assert leases.hold("inbox", "first", 15)
    at_work = published(leases, OTHER)
    leases.begin(OTHER, at_work)
    published(leases)
    assert not leases.hold("inbox", "second", 15)
    assert leases.hold("inbox", "first", 15), "renewed"
    assert states(leases, ARRIVAL) == ["leased"], "a renewal forgets nothing"
    leases.report("inbox", {"online": True}, 15)
    leases.release("inbox", "second")
    assert not leases.hold("inbox", "second", 15)
    assert "inbox" in leases.reports(["inbox"])
    leases.release("inbox", "first")
    assert leases.reports(["inbox"]) == {}, "else a scan would ask the watcher that has gone"
    assert leases.hold("inbox", "second", 15)
    assert states(leases, ARRIVAL, OTHER) == ["published", "leased"], "work that is going on is not forgotten"


def test_in_flight_names_what_is_published_and_what_is_worked_on(leases: Leases) -> None:
    leases.begin(OTHER, published(leases, OTHER))
    published(leases)
    assert leases.in_flight("inbox") == {ARRIVAL.id: "published", OTHER.id: "working"}


def test_a_name_that_is_not_utf8_is_remembered_as_it_is(leases: Leases) -> None:
    strange = Arrival("inbox", "caf\udce9\n.jpg", 1, 2)
    token = published(leases, strange)
    leases.begin(strange, token)
    leases.put_off(strange, token, TransientError("caf\udce9"), 0)
    wait_until(lambda: leases.due("inbox", 1) == [strange], "due")
    assert leases.waiting("inbox")[0].arrival == strange
