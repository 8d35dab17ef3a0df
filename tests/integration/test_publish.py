"""The publisher against a real Redis: slots, refusals, lost messages, standby, and what is due."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

import pytest

from config.settings import Settings
from config.urls import connect
from servers import RedisServer
from tasks.app import make_publisher
from tasks.errors import TransientError
from tasks.leases import End, Leases
from tasks.messages import Arrival
from waiting import wait_until
from watcher.publish import Answer, Publisher
from watcher.sending import Sender

ONE = Arrival("inbox", "one.jpg", 10, 5)
TWO = Arrival("inbox", "two.jpg", 11, 6)


def settings_for(server: RedisServer) -> Settings:
    return Settings.model_validate(
        {"broker": {"url": server.broker_url}, "results": {"url": server.results_url}, "inbox": [{"name": "inbox"}]}
    )


class Rig:
    """A publisher that is stepped by hand, and what the tests look at."""

    def __init__(self, server: RedisServer, **options: float) -> None:
        self.server = server
        self.leases = Leases(server.client(1), task_time_seconds=60)
        self.woken = 0
        self.publisher = Publisher(
            Sender(make_publisher(settings_for(server))),
            Leases(server.client(1), task_time_seconds=60),
            ["inbox"],
            max_in_flight=int(options.get("max_in_flight", 4)),
            lost_after_seconds=options.get("lost_after_seconds", 70.0),
            wake=self._wake,
        )
        self.now = 1000.0

    def _wake(self) -> None:
        self.woken += 1

    def step(self, seconds: float = 1.0) -> list[Answer]:
        """Let time pass and do one pass."""
        self.now += seconds
        self.publisher.step(self.now)
        return self.publisher.answers()

    def offer(self, *arrivals: Arrival) -> list[str]:
        """Offer, do one pass, and give the states of the answers."""
        self.publisher.offer(arrivals)
        return [answer.state for answer in self.step()]

    def messages(self) -> list[dict[str, object]]:
        """What stands in the queue, the oldest first."""
        with self.server.client(0) as client:
            return [json.loads(text) for text in reversed(client.lrange("thumbdrop", 0, -1))]


@pytest.fixture
def rig(redis_server: RedisServer) -> Iterator[Rig]:
    redis_server.flush()
    rig = Rig(redis_server)
    rig.step()
    yield rig
    rig.publisher.stop()


def test_a_message_carries_the_arrival_id_as_its_task_id(rig: Rig) -> None:
    assert rig.offer(ONE) == ["published"]
    (message,) = rig.messages()
    assert message["headers"]["id"] == ONE.id  # type: ignore[index]
    assert message["headers"]["task"] == "thumbdrop.ingest"  # type: ignore[index]
    assert message["content-type"] == "application/json"


def test_what_is_offered_together_is_leased_and_sent_in_one_round_trip_each(rig: Rig) -> None:
    arrivals = [replace(ONE, size_bytes=size) for size in range(5)]

    def reads_of(*offered: Arrival) -> int:
        before: Any = rig.leases.redis.info("stats")
        assert rig.offer(*offered) == ["published"] * len(offered)
        after: Any = rig.leases.redis.info("stats")
        return int(after["total_reads_processed"]) - int(before["total_reads_processed"])

    rig.offer(arrivals[0])  # makes the connections and loads the scripts
    assert reads_of(*arrivals[1:4]) == reads_of(arrivals[4])
    sent = [message["headers"]["id"] for message in rig.messages()]  # type: ignore[index]
    assert sent == [arrival.id for arrival in arrivals], "a message each"


def test_free_slots_shrink_with_what_is_offered_and_in_flight_and_come_back(rig: Rig) -> None:
    assert rig.publisher.free_slots == 4
    rig.publisher.offer([ONE, TWO])
    assert rig.publisher.free_slots == 2, "offered, not yet answered"
    rig.step()
    assert rig.publisher.free_slots == 2
    rig.leases.redis.delete(f"thumbdrop:lease:{ONE.id}")
    assert [answer.state for answer in rig.step()] == ["ended"]
    assert rig.publisher.free_slots == 3


def test_the_same_arrival_offered_twice_is_published_once(rig: Rig) -> None:
    assert rig.offer(ONE, ONE) == ["published", "leased"]
    assert len(rig.messages()) == 1


def test_a_dead_broker_refuses_at_once_leaves_no_lease_and_recovers(rig: Rig, redis_server: RedisServer) -> None:
    broker = RedisServer(redis_server._program, redis_server.folder / "broker")
    broker.folder.mkdir(exist_ok=True)
    broker.start()
    settings = settings_for(redis_server).model_copy(update={"broker": settings_for(broker).broker})
    rig.publisher._sender = Sender(make_publisher(settings))
    broker.kill()
    begun = time.monotonic()
    assert rig.offer(ONE) == ["refused"]
    assert time.monotonic() - begun < 10
    assert rig.leases.states([ONE.id]) == [""]
    assert "OperationalError" in rig.publisher.trouble
    assert rig.publisher.free_slots == 0, "backing off"
    broker.start()
    rig.step(60.0)
    assert rig.publisher.free_slots == 4
    assert rig.offer(ONE) == ["published"]
    assert rig.publisher.trouble == ""
    broker.kill()


def test_leases_that_cannot_be_taken_back_at_once_block_neither_the_window_nor_the_files(
    rig: Rig, redis_server: RedisServer
) -> None:
    """A full disk makes Redis refuse to write from one moment to the next: both to the broker and to the lease store."""
    broker = RedisServer(redis_server._program, redis_server.folder / "broker")
    broker.folder.mkdir(exist_ok=True)
    settings = settings_for(redis_server).model_copy(update={"broker": settings_for(broker).broker})
    rig.publisher._sender = Sender(make_publisher(settings))
    admin: Any = redis_server.client()
    admin.execute_command("ACL SETUSER default -del")  # leases can be given, and not taken back
    try:
        assert rig.offer(ONE, TWO) == ["refused", "refused"]
        assert rig.leases.states([ONE.id, TWO.id]) == ["published", "published"]
    finally:
        admin.execute_command("ACL SETUSER default +@all")
    broker.start()
    rig.step(60.0)
    assert rig.publisher.free_slots == 4, "every offer was answered"
    assert rig.leases.states([ONE.id, TWO.id]) == ["", ""]
    assert rig.offer(ONE, TWO) == ["published", "published"]
    broker.kill()


def test_leases_that_were_given_unheard_are_taken_back(rig: Rig, redis_server: RedisServer) -> None:
    with losing_the_reply_to(b"EVALSHA", redis_server) as address:
        rig.publisher._leases = Leases(connect(address, 2.0), task_time_seconds=60)
        assert rig.offer(ONE) == ["refused"]
        assert rig.leases.states([ONE.id]) == ["published"], "the store did as it was told"
        rig.publisher._leases.redis.close()
    rig.publisher._leases = rig.leases
    rig.step(60.0)
    assert rig.leases.states([ONE.id]) == [""]
    assert rig.offer(ONE) == ["published"]


@contextmanager
def losing_the_reply_to(command: bytes, server: RedisServer) -> Iterator[str]:
    """The address of a relay to the server that hangs up as soon as such a command was carried out."""

    def relay(client: socket.socket) -> None:
        with client, socket.socket(socket.AF_UNIX) as upstream:
            upstream.connect(str(server.socket))
            while request := client.recv(1 << 16):
                upstream.sendall(request)
                reply = upstream.recv(1 << 16)
                if command in request:
                    return
                client.sendall(reply)

    def accept() -> None:
        with suppress(OSError):  # closed
            while True:
                relay(listener.accept()[0])

    path = server.folder / "relay.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        try:
            yield f"redis+socket://{path}?virtual_host=1"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(5)
            path.unlink()


def test_a_dead_lease_store_refuses_everything_and_is_found_again(rig: Rig, redis_server: RedisServer) -> None:
    redis_server.kill()
    try:
        assert rig.offer(ONE) == ["refused"]
        assert rig.publisher.trouble
        assert rig.publisher.held == frozenset(), "nobody publishes without the store"
    finally:
        redis_server.start()
    rig.step(60.0)
    assert rig.offer(ONE) == ["published"]


def test_a_message_that_was_lost_is_noticed_once_the_queue_has_been_empty_for_long(rig: Rig) -> None:
    rig.offer(ONE)
    rig.server.client(0).delete("thumbdrop")
    rig.step(6.0)
    assert rig.step(60.0) == [], "a task might still be running that holds the message back"
    states = [answer.state for _ in range(3) for answer in rig.step(10.0)]
    assert states == ["ended"]
    assert rig.leases.states([ONE.id]) == [""]


def test_a_message_that_was_lost_is_noticed_although_the_queue_is_never_empty(rig: Rig) -> None:
    """A killed worker takes what it held with it, and others go on with the rest of a backlog."""
    rig.offer(ONE)
    rig.server.client(0).delete("thumbdrop")
    rig.offer(TWO)
    token = str(rig.leases.redis.get(f"thumbdrop:lease:{TWO.id}")).partition(":")[2]
    assert rig.leases.begin(TWO, token) is not None
    rig.step(6.0)
    assert len(rig.messages()) == 1
    assert rig.step(60.0) == [], "a worker might still hold it"
    assert [answer for _ in range(3) for answer in rig.step(10.0)] == [Answer(ONE, "ended")]
    assert rig.leases.states([ONE.id, TWO.id]) == ["", "working"]


def test_a_message_that_waits_behind_others_is_not_lost(rig: Rig) -> None:
    rig.offer(ONE)
    assert [answer for _ in range(40) for answer in rig.step(10.0)] == []


def test_nothing_more_is_published_into_a_queue_that_nobody_empties(rig: Rig) -> None:
    rig.offer(ONE)
    rig.server.client(0).rpush("thumbdrop", *["{}"] * 8)
    rig.step(6.0)
    assert rig.publisher.free_slots == 0
    rig.server.client(0).ltrim("thumbdrop", 0, 0)
    rig.step(6.0)
    assert rig.publisher.free_slots == 3


def test_an_arrival_whose_wait_has_ended_comes_back_as_due(rig: Rig) -> None:
    (verdict,) = rig.leases.offer([ONE])
    rig.leases.begin(ONE, verdict.token)
    rig.leases.put_off(ONE, verdict.token, TransientError("weather"), 0.2)
    assert rig.offer(ONE) == ["waiting"]
    found = wait_until(rig.step, "due")
    assert found == [Answer(ONE, "due")]


def test_the_record_of_a_file_that_went_away_is_forgotten(rig: Rig) -> None:
    (verdict,) = rig.leases.offer([ONE])
    rig.leases.begin(ONE, verdict.token)
    rig.leases.put_off(ONE, verdict.token, TransientError("weather"), 100)
    rig.publisher.forget(ONE)
    rig.step()
    assert rig.leases.waiting("inbox") == []


def test_a_second_watcher_stands_by_and_takes_over(rig: Rig, redis_server: RedisServer) -> None:
    second = Rig(redis_server)
    second.step()
    assert second.publisher.held == frozenset()
    assert second.publisher.free_slots == 0
    assert second.offer(ONE) == ["standby"]
    rig.offer(ONE)
    rig.publisher.stop()
    second.step(6.0)
    assert second.publisher.held == {"inbox"}
    assert second.offer(ONE) == ["published"], "what the first had published and nobody had begun"
    second.publisher.stop()


def test_work_that_a_predecessor_left_behind_fills_the_window_until_it_ends(
    rig: Rig, redis_server: RedisServer
) -> None:
    (verdict,) = rig.leases.offer([ONE])
    rig.leases.begin(ONE, verdict.token)
    rig.publisher.stop()
    second = Rig(redis_server)
    second.step()
    assert second.publisher.free_slots == 3
    rig.leases.finish([End(ONE, verdict.token, ["done"])])
    second.step()
    assert second.publisher.free_slots == 4
    second.publisher.stop()


def test_a_wish_for_a_scan_reaches_the_watcher_once(rig: Rig) -> None:
    rig.leases.ask_scan("inbox")
    rig.step(2.0)
    assert rig.publisher.asked() == ["inbox"]
    rig.step(2.0)
    assert rig.publisher.asked() == []


def test_a_paused_library_closes_the_window_for_as_long(rig: Rig) -> None:
    rig.leases.redis.set("thumbdrop:pause", json.dumps({"reason": "no_space", "message": "full"}), ex=10)
    assert rig.offer(ONE) == ["paused"]
    assert rig.publisher.free_slots == 0
    rig.leases.redis.delete("thumbdrop:pause")
    rig.step(11.0)
    assert rig.offer(ONE) == ["published"]


def test_a_publisher_that_fails_unforeseen_says_so_instead_of_looking_alive(rig: Rig) -> None:
    rig.publisher._sender = None  # type: ignore[assignment] # nothing outside gets it to fail in a way that is not foreseen
    rig.publisher.offer([ONE])
    rig.publisher.start()
    wait_until(lambda: rig.publisher.has_failed, "failed")
    assert rig.woken


def test_offers_from_another_thread_are_answered_while_it_runs(rig: Rig) -> None:
    rig.publisher.start()
    arrivals = [replace(ONE, size_bytes=size) for size in range(4)]
    rig.publisher.offer(arrivals)
    answers: list[Answer] = []

    def are_answered() -> bool:
        answers.extend(rig.publisher.answers())
        return len(answers) == 4

    wait_until(are_answered, "all answered")
    assert {answer.state for answer in answers} == {"published"}
    assert rig.woken
