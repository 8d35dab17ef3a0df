"""Images that a child gets several at a time: one that spoils its batch is found out, and costs the others a second try at most."""

import re
import signal
from pathlib import Path

import pytest

from images import image_bytes
from misbehaving import image_that, let_go, misbehaving, wait_begun
from running import SETTINGS, MakeThumbdrop, Thumbdrop
from servers import RedisServer
from waiting import wait_until

pytestmark = [pytest.mark.faults]

STORES = '\n[broker]\nurl = "{0.broker_url}"\n[results]\nurl = "{0.results_url}"\n'
LIMITS = '\n[limits]\ntask_time = "6s"\nmax_attempts = 2\n'


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """Where images that misbehave and the tests talk to each other."""
    folder = tmp_path / "site"
    folder.mkdir()
    return folder


@pytest.fixture
def thumbdrop(make_thumbdrop: MakeThumbdrop, redis_server: RedisServer, site: Path) -> Thumbdrop:
    """A watcher, and as yet nobody who works on what it publishes."""
    redis_server.flush()
    made = make_thumbdrop(SETTINGS + STORES.format(redis_server) + LIMITS, environ=misbehaving(site))
    made.library.mkdir()
    made.start("watch")
    return made


def drop_all(thumbdrop: Thumbdrop, redis_server: RedisServer, deed: str, *places: int, total: int = 48) -> int:
    """Drop small images of which those at the places do that to their decoder; how many are good."""
    for number in range(total):
        content = image_that(deed) if number in places else image_bytes("png", 300 + number, 20)
        thumbdrop.drop(f"{number:02} {'bad' if number in places else 'good'}.png", content)
    with redis_server.client() as broker:
        wait_until(lambda: broker.llen("thumbdrop") == min(total, 64), "all wait for a worker", 30)
    return total - len(places)


def status(thumbdrop: Thumbdrop) -> tuple[list[str], list[object]]:
    """The problems, and what is tried again."""
    told = thumbdrop.command("status", "--json").json
    return told["problems"], told["inboxes"][0]["put_off"]


def assert_the_bad_ones_alone_are_to_blame(thumbdrop: Thumbdrop, log: str, reason: str, places: set[int]) -> None:
    reasons = thumbdrop.reasons()
    assert set(reasons) == {f"inbox/{number:02} bad.png" for number in places}
    assert {(found["reason"], found["attempts"]) for found in reasons.values()} == {(reason, 2)}
    blamed = re.findall(r'image.attempt_lost .*path="(\d+) (\w+)\.png"', log)
    assert sorted(blamed) == sorted([(f"{number:02}", "bad") for number in places] * 2)
    assert thumbdrop.standing() == []
    wait_until(lambda: status(thumbdrop) == ([], []), "status has nothing to say")


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_of_a_batch_whose_child_crashes_only_the_one_that_was_decoded_is_to_blame(
    thumbdrop: Thumbdrop, redis_server: RedisServer
) -> None:
    places = {12, 17, 21, 26, 30, 35, 39}
    good = drop_all(thumbdrop, redis_server, "segfaults", *places)
    worker = thumbdrop.start("worker", "--concurrency", "1")
    wait_until(lambda: len(thumbdrop.manifests()) == good, "the good ones are done", 60)
    thumbdrop.wait_quarantined(len(places))
    assert_the_bad_ones_alone_are_to_blame(thumbdrop, worker.text, "crashed_worker", places)
    given_back = re.findall(r'image.given_back .*path="\d+ (\w+)', worker.text)
    assert "good" in given_back, "some waited for the disk, or for their turn, when another one crashed"


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_an_image_that_never_ends_holds_its_batch_up_for_one_task_time_and_is_alone_to_blame(
    thumbdrop: Thumbdrop, redis_server: RedisServer
) -> None:
    places = {20, 24}
    good = drop_all(thumbdrop, redis_server, "never ends", *places)
    worker = thumbdrop.start("worker", "--concurrency", "1")
    wait_until(lambda: len(thumbdrop.manifests()) == good, "the good ones are done", 60)
    thumbdrop.wait_quarantined(len(places))
    assert_the_bad_ones_alone_are_to_blame(thumbdrop, worker.text, "timed_out", places)


@pytest.mark.slow
def test_what_a_slow_image_leaves_of_its_batch_is_begun_at_once_when_it_is_done(
    thumbdrop: Thumbdrop, redis_server: RedisServer
) -> None:
    """Several of them, because one may be the last of its batch, and then nothing is left."""
    drop_all(thumbdrop, redis_server, "dawdles", 22, 44, 66, 88, total=110)
    thumbdrop.start("worker", "--concurrency", "1")
    thumbdrop.wait_done(110, seconds=14)  # what counts as lost comes later
    assert thumbdrop.reasons() == {}


@pytest.mark.slow
def test_a_worker_that_is_told_to_stop_finishes_the_batch_at_hand_and_gives_the_rest_back(
    thumbdrop: Thumbdrop, redis_server: RedisServer, site: Path
) -> None:
    drop_all(thumbdrop, redis_server, "waits", 24)
    worker = thumbdrop.start("worker", "--concurrency", "1")
    wait_begun(site, "waits")
    worker.process.send_signal(signal.SIGTERM)
    worker.wait_for("Warm shutdown")
    let_go(site)
    worker.wait()
    with redis_server.client() as broker, redis_server.client(1) as leases:
        waiting = broker.llen("thumbdrop")
        assert 48 - 24 - 8 <= waiting <= 23
        assert len(thumbdrop.manifests()) == 48 - waiting, "what was begun is done, all else is back"
        assert leases.scard("thumbdrop:flight:inbox") == waiting
    thumbdrop.start("worker", "--concurrency", "1")
    thumbdrop.wait_done(48)
    assert thumbdrop.reasons() == {}
