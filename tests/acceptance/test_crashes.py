"""Deploys, killed workers and lost messages: what had begun is done soon, and no good file pays for it."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from images import image_bytes
from misbehaving import image_that, let_go, misbehaving, wait_begun
from running import SETTINGS, MakeThumbdrop, Running, Thumbdrop, assert_complete
from servers import RedisServer
from waiting import wait_until

pytestmark = [pytest.mark.faults]

STORES = '\n[broker]\nurl = "{0.broker_url}"\n[results]\nurl = "{0.results_url}"\n[watcher]\nrescan = "2s"\n'
TASK_SECONDS, RESCAN_SECONDS = 2, 2
LEASE_MARGIN_SECONDS = 10  # tasks/leases.py: a lease outlives the task time limit by that
DEPTH_SECONDS = 5  # watcher/publish.py: how often the queue is measured


@pytest.fixture
def redis(redis_server: RedisServer) -> RedisServer:
    """The private Redis, empty."""
    redis_server.flush()
    return redis_server


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """Where the decoders that misbehave come from, and leave their marks."""
    folder = tmp_path / "site"
    folder.mkdir()
    return folder


def why(thumbdrop: Thumbdrop, name: str) -> dict[str, Any]:
    return dict(thumbdrop.command("why", f"inbox/{name}", "--json").json)


def kill_all(worker: Running) -> None:
    """SIGKILL to a worker and its children, as to a unit that is out of memory, or does not stop in time."""
    os.killpg(worker.process.pid, signal.SIGKILL)
    worker.wait()


def stopped_in_vain(worker: Running) -> None:
    """As systemd does: asked to stop, and killed when it takes too long."""
    worker.process.send_signal(signal.SIGTERM)
    worker.wait_for("Warm shutdown")
    time.sleep(0.1)  # it says so before it acts
    kill_all(worker)


def stopped_at_once(worker: Running) -> None:
    """As `thumbdrop up` does at last: the second SIGQUIT gives the messages back."""
    worker.process.send_signal(signal.SIGQUIT)
    worker.wait_for("Hitting Ctrl+C again")
    time.sleep(0.1)
    worker.process.send_signal(signal.SIGQUIT)
    worker.wait_for("Waiting gracefully for cold shutdown")
    wait_until(lambda: worker.text.count("Cold shutdown") >= 1, "it has told the others", 10)
    kill_all(worker)


def leases(redis: RedisServer) -> dict[str, str]:
    """Every lease and what it says."""
    with redis.client(1) as client:
        found: Any = {key: client.get(key) for key in client.scan_iter("thumbdrop:lease:*")}
    return {key: value for key, value in found.items() if value}


def let_leases_end(redis: RedisServer) -> None:
    """Let the time pass that the leases of the dead last."""
    with redis.client(1) as client:
        for key in leases(redis):
            client.pexpire(key, 1)


@pytest.mark.slow
@pytest.mark.timeout(150)
def test_a_dozen_deploys_in_mid_work_do_not_quarantine_a_slow_image(
    make_thumbdrop: MakeThumbdrop, redis: RedisServer, site: Path
) -> None:
    thumbdrop = make_thumbdrop(SETTINGS + STORES.format(redis), environ=misbehaving(site))
    thumbdrop.library.mkdir()
    thumbdrop.start("watch")
    content = image_that("waits")
    thumbdrop.drop("slow.png", content)
    ways: list[Callable[[Running], None]] = [stopped_in_vain, stopped_at_once, stopped_in_vain, kill_all]
    for number in range(12):
        worker = thumbdrop.start("worker", "--concurrency", "1")
        wait_begun(site, "waits", number + 1)
        way = ways[number % len(ways)]
        is_first_time = number < len(ways)
        if is_first_time:
            story = why(thumbdrop, "slow.png")
            assert (story["state"], story["lease"]) == ("in_flight", "working")
        way(worker)
        if is_first_time:
            assert "no worker answers" in thumbdrop.command("status", "--json").json["problems"]
            assert why(thumbdrop, "slow.png")["state"] in {"in_flight", "retrying", "due"}
        if way is not stopped_at_once:
            assert next(iter(leases(redis).values())).startswith("working:"), "nobody could end the lease"
            let_leases_end(redis)
    with redis.client(1) as client:
        (record,) = [client.hgetall(key) for key in client.scan_iter("thumbdrop:record:*")]
    assert record["vanished"] == "3", "only those count of which no worker had a warning"

    let_go(site)
    thumbdrop.start("worker", "--concurrency", "1")
    thumbdrop.wait_done(1)
    assert_complete(thumbdrop, {"slow.png": content})
    status = thumbdrop.command("status", "--json").json
    assert (status["problems"], status["inboxes"][0]["put_off"]) == ([], [])
    assert why(thumbdrop, "slow.png")["state"] == "done"


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_what_a_killed_worker_had_begun_and_what_was_lost_on_the_way_is_done_within_a_task_time_and_a_rescan(
    make_thumbdrop: MakeThumbdrop, redis: RedisServer, site: Path
) -> None:
    limits = f'\n[limits]\ntask_time = "{TASK_SECONDS}s"\n'
    thumbdrop = make_thumbdrop(SETTINGS + STORES.format(redis) + limits, environ=misbehaving(site))
    thumbdrop.library.mkdir()
    watcher = thumbdrop.start("watch")
    photos = {"lost.jpg": image_bytes(), "begun.png": image_that("waits"), "waiting.jpg": image_bytes(width=300)}
    thumbdrop.drop("lost.jpg", photos["lost.jpg"])
    with redis.client() as client:
        # BRPOP hands a message over before the worker can note it down anywhere.
        wait_until(lambda: client.rpop("thumbdrop"), "the message was lost")
    lost_at = time.monotonic()
    story = why(thumbdrop, "lost.jpg")
    assert (story["state"], story["lease"]) == ("in_flight", "published")
    assert "no worker answers" in thumbdrop.command("status", "--json").json["problems"]

    worker = thumbdrop.start("worker", "--concurrency", "1")
    thumbdrop.drop("begun.png", photos["begun.png"])
    wait_begun(site, "waits")
    thumbdrop.drop("waiting.jpg", photos["waiting.jpg"])
    wait_until(lambda: len(leases(redis)) == 3, "the next one is published", 10)
    kill_all(worker)
    killed_at = time.monotonic()
    let_go(site)
    thumbdrop.start("worker", "--concurrency", "1")
    restarted_after = time.monotonic() - killed_at

    # The lease outlives the task time limit by less than the usual rescan.
    bound = TASK_SECONDS + LEASE_MARGIN_SECONDS + RESCAN_SECONDS
    done_within(thumbdrop, "begun", killed_at + bound + restarted_after)
    done_within(thumbdrop, "lost", max(lost_at, killed_at) + bound + DEPTH_SECONDS)
    done_within(thumbdrop, "waiting", killed_at + bound + DEPTH_SECONDS + restarted_after)
    assert_complete(thumbdrop, photos)
    assert "message.lost inbox=inbox path=lost.jpg" in watcher.text
    status = thumbdrop.command("status", "--json").json
    assert (status["problems"], status["inboxes"][0]["put_off"]) == ([], [])
    assert {why(thumbdrop, name)["state"] for name in photos} == {"done"}


def done_within(thumbdrop: Thumbdrop, stem: str, deadline: float) -> None:
    def is_done() -> bool:
        return f"uncategorized/{stem}" in thumbdrop.manifests()

    wait_until(is_done, f"{stem} is done", max(0.0, deadline - time.monotonic()), every=0.1)
