"""A worker holds messages in advance: as many as help its children, and none that a stop does not give back."""

import signal
from pathlib import Path

import pytest

from images import image_bytes
from misbehaving import image_that, let_go, misbehaving, wait_begun
from running import SETTINGS, MakeThumbdrop, assert_complete
from servers import RedisServer
from waiting import wait_until

pytestmark = [pytest.mark.faults]

STORES = '\n[broker]\nurl = "{0.broker_url}"\n[results]\nurl = "{0.results_url}"\n'


@pytest.mark.slow
def test_a_worker_holds_one_more_message_for_each_child_and_gives_it_back_when_it_stops(
    make_thumbdrop: MakeThumbdrop, redis_server: RedisServer, tmp_path: Path
) -> None:
    redis_server.flush()
    site = tmp_path / "site"
    site.mkdir()
    thumbdrop = make_thumbdrop(SETTINGS + STORES.format(redis_server), environ=misbehaving(site))
    thumbdrop.library.mkdir()
    worker = thumbdrop.start("worker", "--concurrency", "1")
    thumbdrop.start("watch")
    photos = {"slow.png": image_that("waits")} | {f"{n}.jpg": image_bytes(width=300 + n) for n in range(3)}
    thumbdrop.drop("slow.png", photos["slow.png"])
    wait_begun(site, "waits")
    with redis_server.client() as broker:
        for name in ("0.jpg", "1.jpg", "2.jpg"):
            thumbdrop.drop(name, photos[name])
        wait_until(lambda: broker.hlen("unacked") == 2, "one is at work and one is held", 20)
        wait_until(lambda: broker.llen("thumbdrop") == 2, "the others wait in the queue", 20)
        worker.process.send_signal(signal.SIGTERM)
        worker.wait_for("Warm shutdown")
        let_go(site)
        worker.wait()
        assert broker.llen("thumbdrop") == 3, "the one that was held is back, the one at work is done"
    thumbdrop.start("worker", "--concurrency", "1")
    thumbdrop.wait_done(4)
    assert_complete(thumbdrop, photos)
