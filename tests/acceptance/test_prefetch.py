"""A worker holds messages in advance: as many as help its children, and none that a stop does not give back."""

import signal
from pathlib import Path

import pytest

from images import image_bytes
from misbehaving import image_that, let_go, misbehaving, wait_begun
from running import SETTINGS, MakeThumbdrop, Thumbdrop, assert_complete
from servers import RedisServer
from waiting import wait_until

pytestmark = [pytest.mark.faults]

STORES = '\n[broker]\nurl = "{0.broker_url}"\n[results]\nurl = "{0.results_url}"\n'


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """Where images that misbehave and the tests talk to each other."""
    folder = tmp_path / "site"
    folder.mkdir()
    return folder


@pytest.fixture
def thumbdrop(make_thumbdrop: MakeThumbdrop, redis_server: RedisServer, site: Path, tmp_path: Path) -> Thumbdrop:
    """A watcher, with a Redis that the test can mistreat; its worker has a temporary directory of its own."""
    redis_server.flush()
    (tmp_path / "tmp").mkdir()
    environ = misbehaving(site) | {"TMPDIR": str(tmp_path / "tmp")}
    made = make_thumbdrop(SETTINGS + STORES.format(redis_server), environ=environ)
    made.library.mkdir()
    made.start("watch")
    return made


def hold_one(thumbdrop: Thumbdrop, redis_server: RedisServer, site: Path) -> dict[str, bytes]:
    """Drop four images: one is at work until `let_go`, one is held by the worker, and two wait in the queue."""
    photos = {"slow.png": image_that("waits")} | {f"{n}.jpg": image_bytes(width=300 + n) for n in range(3)}
    for name, content in photos.items():
        thumbdrop.drop(name, content)
        if name == "slow.png":
            wait_begun(site, "waits")
    with redis_server.client() as broker, redis_server.client(1) as leases:
        wait_until(lambda: leases.scard("thumbdrop:flight:inbox") == 4, "all are published", 20)
        wait_until(lambda: broker.llen("thumbdrop") == 2, "one is at work and one is held, the others wait", 20)
    return photos


@pytest.mark.slow
def test_a_worker_holds_one_more_message_for_each_child_and_gives_it_back_when_it_stops(
    thumbdrop: Thumbdrop, redis_server: RedisServer, site: Path
) -> None:
    worker = thumbdrop.start("worker", "--concurrency", "1")
    photos = hold_one(thumbdrop, redis_server, site)
    worker.process.send_signal(signal.SIGTERM)
    worker.wait_for("Warm shutdown")
    let_go(site)
    worker.wait()
    with redis_server.client() as broker:
        assert broker.llen("thumbdrop") == 3, "the one that was held is back, the one at work is done"
    thumbdrop.start("worker", "--concurrency", "1")
    thumbdrop.wait_done(4)
    assert_complete(thumbdrop, photos)


@pytest.mark.slow
def test_a_worker_goes_on_when_redis_dies_and_leaves_no_file_for_what_it_held(
    thumbdrop: Thumbdrop, redis_server: RedisServer, site: Path, tmp_path: Path
) -> None:
    """What it held counts as lost and is published again: see test_crashes.py."""
    worker = thumbdrop.start("worker", "--concurrency", "1")
    hold_one(thumbdrop, redis_server, site)
    redis_server.kill()
    worker.wait_for("Cannot connect")
    redis_server.start()
    let_go(site)
    wait_until(lambda: len(thumbdrop.manifests()) == 3, "the one at work and those in the queue are done", 30)
    assert [path for path in (tmp_path / "tmp").rglob("*") if path.is_file()] == []
