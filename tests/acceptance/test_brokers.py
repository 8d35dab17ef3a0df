"""RabbitMQ as broker, workers elsewhere, two watchers, and a Redis that forgets: every image still ends complete."""

import json
import os
import shlex
import signal
from typing import Any

import pytest
from kombu import Connection

from images import image_bytes
from needs import need
from running import SETTINGS, MakeThumbdrop, Running, Thumbdrop, assert_complete
from servers import RabbitMQ, RedisServer
from waiting import wait_until

# What a stopped worker held is given up after task_time + 10 s; nothing here takes a second.
LIMITS = '\n[limits]\ntask_time = "5s"\n[watcher]\nrescan = "1s"\n'
QUEUE = "thumbdrop"


def with_stores(broker: str, redis: RedisServer) -> str:
    return f'{SETTINGS}{LIMITS}[broker]\nurl = "{broker}"\n[results]\nurl = "{redis.results_url}"\n'


@pytest.fixture
def redis(redis_server: RedisServer) -> RedisServer:
    """The private Redis, empty."""
    redis_server.flush()
    return redis_server


@pytest.fixture
def amqp(rabbitmq: RabbitMQ, redis: RedisServer) -> str:
    """Settings with RabbitMQ, its queue empty, as broker and Redis for the results."""
    with Connection(rabbitmq.url) as connection:
        channel: Any = connection.default_channel
        channel.queue_delete(QUEUE)
    return with_stores(rabbitmq.url, redis)


def twenty_photos() -> dict[str, bytes]:
    """Twenty, with a name that is not UTF-8 and one with a newline among them."""
    names = [f"{n % 3}/photo {n:02}.jpg" for n in range(18)] + [os.fsdecode(b"caf\xe9/\xff.jpg"), "two\nlines.jpg"]
    return {name: image_bytes(width=700 + n, height=500) for n, name in enumerate(names)}


def drop_all(thumbdrop: Thumbdrop, content: dict[str, bytes]) -> None:
    for name, one in content.items():
        thumbdrop.drop(os.fsencode(name), one)


def done_by(running: Running) -> int:
    """How many images a worker says that it did."""
    return running.text.count(" image.done ")


def outcomes(redis: RedisServer) -> dict[str, int]:
    with redis.client(1) as client:
        found: Any = client.hgetall("thumbdrop:counts")
    return {name: int(number) for name, number in found.items()}


def signal_all(running: Running, number: int) -> None:
    """Signal a worker and its children: `start` gave it a process group of its own."""
    os.killpg(running.process.pid, number)


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_two_workers_finish_everything_although_rabbitmq_is_restarted_in_mid_work(
    make_thumbdrop: MakeThumbdrop, amqp: str, rabbitmq: RabbitMQ, redis: RedisServer
) -> None:
    thumbdrop = make_thumbdrop(amqp)
    thumbdrop.library.mkdir()
    workers = [thumbdrop.start("worker", "--concurrency", "1") for _ in range(2)]
    thumbdrop.start("watch")
    content = twenty_photos()
    names = list(content)
    drop_all(thumbdrop, {name: content[name] for name in names[:8]})
    wait_until(lambda: all(map(done_by, workers)), "both workers did something", 30)

    # One worker holds messages that it has not acknowledged, and half of the images come while nobody listens.
    signal_all(workers[0], signal.SIGSTOP)
    drop_all(thumbdrop, {name: content[name] for name in names[8:14]})
    wait_until(lambda: rabbitmq.ctl("-q", "list_queues", "-p", "celeryvhost", "messages") != "0\n", "messages wait")
    rabbitmq.ctl("stop_app")
    drop_all(thumbdrop, {name: content[name] for name in names[14:]})
    signal_all(workers[0], signal.SIGCONT)
    wait_until(lambda: "broker.unreachable" in thumbdrop.running[2].text, "the watcher notices", 20)
    assert len(thumbdrop.manifests()) < len(content)
    rabbitmq.ctl("start_app")

    thumbdrop.wait_done(20, seconds=80)
    assert_complete(thumbdrop, content)
    assert thumbdrop.stop() == [0, 0, 0]
    assert outcomes(redis) == {"done": 20}


@pytest.mark.root
@pytest.mark.timeout(120)  # RabbitMQ may have to be started first
def test_workers_need_no_path_in_common_with_the_watcher(
    make_thumbdrop: MakeThumbdrop, amqp: str, rabbitmq: RabbitMQ, redis: RedisServer
) -> None:
    here = make_thumbdrop(amqp)
    far = amqp.replace('path = "library"', 'path = "far/lib"').replace('"inbox"', '"far/in"\nname = "inbox"')
    elsewhere = make_thumbdrop(far)
    here.library.mkdir()
    content = twenty_photos()
    drop_all(here, content)
    here.start("watch")

    messages = wait_until(lambda: messages_in(rabbitmq, 20), "the messages are in the queue", 30)
    for message in messages:
        assert message["content_type"] == "application/json"
        assert message["content_encoding"] == "utf-8"
        assert str(here.folder) not in message["text"]
        _, kwargs, _ = json.loads(message["text"])
        assert kwargs["inbox"] == "inbox"
        assert not [value for value in kwargs.values() if str(value).startswith("/")]

    far_worker = start_where_mounts_differ(elsewhere, here)
    wait_until(lambda: done_by(far_worker), "the worker elsewhere did something", 30)
    signal_all(far_worker, signal.SIGSTOP)  # so that it cannot do everything before the other is there
    near_worker = here.start("worker", "--concurrency", "1")
    wait_until(lambda: done_by(near_worker), "the other worker did something, too", 30)
    signal_all(far_worker, signal.SIGCONT)
    here.wait_done(20)
    assert_complete(here, content)
    assert outcomes(redis) == {"done": 20}


def messages_in(rabbitmq: RabbitMQ, count: int) -> list[dict[str, Any]]:
    """Look at the messages in the queue when there are so many; they go back when the connection ends."""
    with Connection(rabbitmq.url) as connection:
        channel: Any = connection.default_channel
        if channel.queue_declare(queue=QUEUE, durable=True, auto_delete=False).message_count < count:
            return []
        found = [channel.basic_get(QUEUE) for _ in range(count)]
        return [
            {
                "content_type": one.properties["content_type"],
                "content_encoding": one.properties["content_encoding"],
                "text": one.body.decode() if isinstance(one.body, bytes) else one.body,
            }
            for one in found
        ]


def start_where_mounts_differ(elsewhere: Thumbdrop, here: Thumbdrop) -> Running:
    """A worker in a mount namespace of its own: inbox and library are mounted elsewhere, and not where they were."""
    inbox, library = elsewhere.folder / "far" / "in", elsewhere.folder / "far" / "lib"
    inbox.mkdir(parents=True)
    library.mkdir()
    script = " && ".join(
        [
            shlex.join(["mount", "--bind", str(here.inbox), str(inbox)]),
            shlex.join(["mount", "--bind", str(here.library), str(library)]),
            shlex.join(["mount", "-t", "tmpfs", "nothing", str(here.folder)]),
            shlex.join(["exec", str(elsewhere.program), "worker", "--concurrency", "1"]),
        ]
    )
    return elsewhere.spawn([need("unshare"), "--mount", "--propagation", "private", "sh", "-c", script], "worker")


def test_a_second_watcher_stands_by_and_takes_over_when_the_first_is_killed(
    make_thumbdrop: MakeThumbdrop, redis: RedisServer
) -> None:
    thumbdrop = make_thumbdrop(with_stores(redis.broker_url, redis))
    thumbdrop.library.mkdir()
    worker = thumbdrop.start("worker", "--concurrency", "2")
    first = thumbdrop.start("watch")
    second = thumbdrop.start("watch", until=("watcher.ready", "inbox.held_by_another_watcher"))
    content = twenty_photos()
    names = list(content)
    drop_all(thumbdrop, {name: content[name] for name in names[:10]})
    thumbdrop.wait_done(10)
    assert inbox_status(thumbdrop)["watcher"].endswith(f" pid {first.process.pid}")

    signal_all(worker, signal.SIGSTOP)
    drop_all(thumbdrop, {name: content[name] for name in names[10:15]})
    wait_until(lambda: in_flight(redis) == 5, "they are published")
    assert "inbox.held " not in second.text
    first.process.kill()
    drop_all(thumbdrop, {name: content[name] for name in names[15:]})
    second.wait_for("inbox.held ", seconds=30)
    wait_until(
        lambda: inbox_status(thumbdrop)["watcher"].endswith(f" pid {second.process.pid}"), "status tells who", 30
    )
    assert why(thumbdrop, names[-1])["state"] in {"due", "in_flight"}
    signal_all(worker, signal.SIGCONT)

    thumbdrop.wait_done(20)
    assert_complete(thumbdrop, content)
    wait_until(lambda: in_flight(redis) == 0, "nothing is in flight")
    assert outcomes(redis) == {"done": 20}, "nothing was done twice"
    assert thumbdrop.command("status", "--json").json["problems"] == []
    assert why(thumbdrop, names[-1])["state"] == "done"


def inbox_status(thumbdrop: Thumbdrop) -> dict[str, Any]:
    return dict(thumbdrop.command("status", "--json").json["inboxes"][0])


def why(thumbdrop: Thumbdrop, name: str) -> dict[str, Any]:
    return dict(thumbdrop.command("why", os.fsencode(f"inbox/{name}"), "--json").json)


def in_flight(redis: RedisServer) -> int:
    with redis.client(1) as client:
        found: Any = client.scard("thumbdrop:flight:inbox")
    return int(found)


@pytest.mark.parametrize("databases", [[0], [1], [0, 1]], ids=["messages", "leases and results", "everything"])
def test_a_redis_that_forgets_in_mid_work_loses_no_image(
    databases: list[int], make_thumbdrop: MakeThumbdrop, redis: RedisServer
) -> None:
    thumbdrop = make_thumbdrop(with_stores(redis.broker_url, redis))
    thumbdrop.library.mkdir()
    worker = thumbdrop.start("worker", "--concurrency", "2")
    thumbdrop.start("watch")
    content = twenty_photos()
    names = list(content)
    drop_all(thumbdrop, {name: content[name] for name in names[:10]})
    wait_until(lambda: done_by(worker) >= 2, "some are done")
    signal_all(worker, signal.SIGSTOP)
    drop_all(thumbdrop, {name: content[name] for name in names[10:]})
    wait_until(lambda: in_flight(redis) >= 10, "they are published")
    for database in databases:
        with redis.client(database) as client:
            client.flushdb()
    signal_all(worker, signal.SIGCONT)

    thumbdrop.wait_done(20)
    assert_complete(thumbdrop, content)
