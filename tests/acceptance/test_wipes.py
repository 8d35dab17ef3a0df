"""Redis forgets, its files are deleted, the broker is killed: everything still ends complete, and soon."""

import os
import shutil
import signal
import time
from typing import Any

import pytest
from kombu import Connection

from images import image_bytes
from running import SETTINGS, MakeThumbdrop, Thumbdrop, assert_complete
from servers import RabbitMQ, RedisServer
from waiting import wait_until

pytestmark = [pytest.mark.faults]

RESCAN_SECONDS = 3
LIMITS = f'\n[limits]\ntask_time = "10s"\n[watcher]\nrescan = "{RESCAN_SECONDS}s"\n'


@pytest.fixture
def redis(redis_server: RedisServer) -> RedisServer:
    """The private Redis, empty."""
    redis_server.flush()
    return redis_server


def with_stores(broker_url: str, redis: RedisServer) -> str:
    return f'{SETTINGS}{LIMITS}[broker]\nurl = "{broker_url}"\n[results]\nurl = "{redis.results_url}"\n'


def photos(count: int, first: int = 0) -> dict[str, bytes]:
    return {f"{n % 3}/photo {n}.jpg": image_bytes(width=900 + n, height=700) for n in range(first, first + count)}


def drop_all(thumbdrop: Thumbdrop, content: dict[str, bytes]) -> None:
    for name, one in content.items():
        thumbdrop.drop(name, one)


def problems(thumbdrop: Thumbdrop) -> list[str]:
    return list(thumbdrop.command("status", "--json").json["problems"])


def why(thumbdrop: Thumbdrop, name: str) -> dict[str, Any]:
    return dict(thumbdrop.command("why", f"inbox/{name}", "--json").json)


def outcomes(redis: RedisServer) -> dict[str, int]:
    with redis.client(1) as client:
        found: Any = client.hgetall("thumbdrop:counts")
    return {name: int(number) for name, number in found.items()}


@pytest.mark.slow
def test_what_a_wipe_of_redis_took_is_made_good_within_two_rescans(
    make_thumbdrop: MakeThumbdrop, redis: RedisServer
) -> None:
    thumbdrop = make_thumbdrop(with_stores(redis.broker_url, redis))
    thumbdrop.library.mkdir()
    thumbdrop.start("watch")
    worker = thumbdrop.start("worker", "--concurrency", "1")
    whole = image_bytes(width=500)
    cut_off = thumbdrop.drop("cut off.jpg", whole[: len(whole) // 2])
    worker.wait_for("reason=truncated")
    worker.process.terminate()
    assert worker.wait() == 0
    thumbdrop.drop("queued.jpg", whole)
    with redis.client() as client:
        wait_until(lambda: client.llen("thumbdrop") == 1, "it is published", 10)
    redis.flush()
    worker = thumbdrop.start("worker", "--concurrency", "1")
    began_at = time.monotonic()

    worker.wait_for("reason=truncated", seconds=2 * RESCAN_SECONDS)
    wait_until(lambda: "uncategorized/queued" in thumbdrop.manifests(), "it is done", 2 * RESCAN_SECONDS)
    assert time.monotonic() - began_at < 2 * RESCAN_SECONDS
    story = why(thumbdrop, "cut off.jpg")
    assert (story["state"], story["reason"], story["tries"]) == ("retrying", "truncated", 1)
    wait_until(lambda: problems(thumbdrop) == [], "status has nothing to say", 30)

    cut_off.write_bytes(whole)
    thumbdrop.wait_done(2)
    assert_complete(thumbdrop, {"cut off.jpg": whole, "queued.jpg": whole})


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_everything_is_done_although_the_embedded_redis_loses_its_files_in_mid_work(
    make_thumbdrop: MakeThumbdrop,
) -> None:
    thumbdrop = make_thumbdrop(SETTINGS + LIMITS)
    up = thumbdrop.start("up", "--workers", "2")
    content = photos(30)
    drop_all(thumbdrop, content)
    wait_until(lambda: len(thumbdrop.manifests()) >= 3, "some are done", 20)
    up.process.send_signal(signal.SIGSTOP)  # else Redis is back before anybody can ask
    shutil.rmtree(thumbdrop.library / ".thumbdrop" / "redis")
    os.kill(thumbdrop.pid("redis"), signal.SIGKILL)
    drop_all(thumbdrop, more := photos(10, first=30))
    assert any("the embedded Redis does not answer" in problem for problem in problems(thumbdrop))
    story = why(thumbdrop, list(more)[-1])
    assert story["state"] == "due"
    assert "the result store does not answer" in story["story"][-1]
    assert len(thumbdrop.manifests()) < 40
    up.process.send_signal(signal.SIGCONT)

    thumbdrop.wait_done(40)
    assert_complete(thumbdrop, content | more)
    assert "redis was killed by SIGKILL; starting it again" in up.text
    wait_until(lambda: problems(thumbdrop) == [], "status has nothing to say", 30)
    assert why(thumbdrop, list(more)[-1])["state"] == "done"


@pytest.mark.slow
@pytest.mark.timeout(150)
def test_everything_is_done_although_rabbitmq_is_killed_in_mid_work_and_away_for_a_while(
    make_thumbdrop: MakeThumbdrop, rabbitmq: RabbitMQ, redis: RedisServer
) -> None:
    with Connection(rabbitmq.url) as connection:
        channel: Any = connection.default_channel
        channel.queue_delete("thumbdrop")
    thumbdrop = make_thumbdrop(with_stores(rabbitmq.url, redis))
    thumbdrop.start("up", "--workers", "2")
    content = photos(20)
    drop_all(thumbdrop, content)
    wait_until(lambda: len(thumbdrop.manifests()) >= 3, "some are done", 20)
    rabbitmq.kill()
    drop_all(thumbdrop, more := photos(5, first=20))
    found = wait_until(lambda: [p for p in problems(thumbdrop) if p.startswith("broker: ")], "status names it", 30)
    assert len(found) == 1
    assert len(thumbdrop.manifests()) < 25
    assert why(thumbdrop, thumbdrop.standing()[-1])["state"] in ("due", "in_flight")
    rabbitmq.start_again()

    thumbdrop.wait_done(25, seconds=90)
    assert_complete(thumbdrop, content | more)
    assert outcomes(redis)["done"] == 25
    wait_until(lambda: problems(thumbdrop) == [], "status has nothing to say", 30)
