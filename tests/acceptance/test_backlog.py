"""Backlogs and bursts, with the real watcher: flat memory, an early start, nothing twice, fresh before old, fair shares.

Here a tenth of what `make backlog` runs, which also prints the figures (THUMBDROP_BACKLOG is the scale). Where the watcher is the
subject, a sink stands in for the workers; bad files beside good ones meet real workers.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from images import image_bytes, truncated
from needs import need
from running import MakeThumbdrop, Running, Thumbdrop
from servers import RedisServer
from sink import Sink
from unprivileged import NOBODY
from waiting import wait_until
from watcher.ready import TURN_EVERY

SCALE = float(os.environ.get("THUMBDROP_BACKLOG", "0.1"))
STANDING = int(200_000 * SCALE)
BURST = int(50_000 * SCALE)
KEPT = int(20_000 * SCALE)
DRAINED = STANDING + 1 if SCALE >= 1 else 3_000  # what is left is waited for only in the whole run
BAD = 2_000
UNREADABLE = int(2_000 * max(SCALE, 0.5))
GOOD = int(1_500 * SCALE)
WINDOW = 64
BOUND = ("--bounding-set=-dac_override,-dac_read_search,-fowner", "--")
SETTLE_SECONDS = 0.3
PATIENCE = 60 + 900 * SCALE

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.timeout(PATIENCE * 3)]

SETTINGS = """\
[[inbox]]
path = "inbox"
settle = "300ms"
after = "{after}"
{more}
[library]
path = "library"
min_free = "1MB"
[thumbnails]
sizes = ["8x8"]
[broker]
url = "{broker}"
[results]
url = "{results}"
"""
SECOND = '[[inbox]]\npath = "inbox2"\nsettle = "300ms"\n'


@dataclass
class Bench:
    """A watcher on a Redis of its own, and what it costs."""

    thumbdrop: Thumbdrop
    server: RedisServer
    idle_mb: float = 0.0
    peak_mb: float = 0.0
    figures: dict[str, str] = field(default_factory=dict)

    def start(self) -> Running:
        return self.thumbdrop.start("watch")

    def watcher(self) -> Running:
        return next(r for r in reversed(self.thumbdrop.running) if r.name == "watch")

    def memory_mb(self) -> float:
        text = Path(f"/proc/{self.watcher().process.pid}/status").read_text()
        now = int(next(line.split()[1] for line in text.splitlines() if line.startswith("VmRSS"))) / 1024
        self.peak_mb = max(self.peak_mb, now)
        return now

    def cpu_seconds(self) -> float:
        ticks = Path(f"/proc/{self.watcher().process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(ticks[11]) + int(ticks[12])) / os.sysconf("SC_CLK_TCK")

    def queued(self) -> int:
        return int(self.server.client(0).llen("thumbdrop"))

    def redis_mb(self) -> float:
        return float(self.server.client(0).info("memory")["used_memory"]) / 1e6

    def report(self) -> dict[str, Any]:
        text = self.server.client(1).get("thumbdrop:report:inbox")
        return dict(json.loads(str(text))) if text else {}

    def status(self) -> dict[str, Any]:
        """What `status` says of the inbox, with all problems."""
        told = self.thumbdrop.command("status", "--json").json
        return {**told["inboxes"][0], "problems": told["problems"]}

    def why(self, name: str) -> dict[str, Any]:
        """The story of a file in the inbox."""
        return dict(self.thumbdrop.command("why", f"inbox/{name}", "--json").json)

    def watch_idle(self) -> None:
        """Measure a watcher that has nothing to do."""
        self.start()
        time.sleep(2)
        self.idle_mb = self.memory_mb()

    def wait_taken(self, sink: Sink, count: int) -> None:
        """Wait until the sink has had so many, looking at the watcher's memory."""

        def are_taken() -> bool:
            self.memory_mb()
            return len(sink.taken) >= count

        try:
            wait_until(are_taken, f"{count} taken", PATIENCE, every=0.1)
        except AssertionError as error:
            raise AssertionError(f"{len(sink.taken)} taken, doubled {sink.doubled[:5]}: {self.report()}") from error

    def say(self, **figures: object) -> None:
        self.figures |= {
            name: f"{value:.2f}" if isinstance(value, float) else str(value) for name, value in figures.items()
        }


@pytest.fixture
def bench(
    make_thumbdrop: MakeThumbdrop,
    redis_server: RedisServer,
    request: pytest.FixtureRequest,
    capfd: pytest.CaptureFixture[str],
) -> Iterator[Bench]:
    redis_server.flush()
    options = {"after": "archive", "more": ""} | getattr(request, "param", {})
    urls = {"broker": redis_server.broker_url, "results": redis_server.results_url}
    thumbdrop = make_thumbdrop(SETTINGS.format(**options, **urls))
    (thumbdrop.folder / "inbox2").mkdir()
    (thumbdrop.folder / "library").mkdir()
    bench = Bench(thumbdrop, redis_server)
    yield bench
    thumbdrop.kill_everything()
    if SCALE >= 1:
        figures = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in bench.figures.items())
        with capfd.disabled():
            sys.stdout.write(f"\n{request.node.name}: {figures}\n")


def fill(root: Path, count: int, name: str = "", content: bytes = b"no image") -> None:
    for number in range(count):
        folder = root / f"{name}{number // 1000}"
        if number % 1000 == 0:
            folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / f"{number}.png", os.O_CREAT | os.O_WRONLY, 0o644)
        os.write(descriptor, content)
        os.close(descriptor)


def sink_for(bench: Bench, *, keep: bool = False) -> Sink:
    folder = bench.thumbdrop.folder
    return Sink(bench.server, {"inbox": folder / "inbox", "inbox2": folder / "inbox2"}, keep=keep)


def test_a_backlog_costs_no_memory_begins_at_once_and_lets_fresh_files_pass(bench: Bench) -> None:
    bench.watch_idle()
    bench.thumbdrop.stop()
    fill(bench.thumbdrop.inbox, STANDING)
    time.sleep(SETTLE_SECONDS)
    redis_before = bench.redis_mb()
    bench.start()
    held_at = time.monotonic()
    wait_until(bench.queued, "the first message", SETTLE_SECONDS + 1)
    bench.say(files=STANDING, first_message_after_seconds=time.monotonic() - held_at)
    time.sleep(2)
    cpu_before = bench.cpu_seconds()
    time.sleep(5)
    cpu_percent = (bench.cpu_seconds() - cpu_before) / 5 * 100
    waiting_mb, queued, redis_mb = bench.memory_mb() - bench.idle_mb, bench.queued(), bench.redis_mb() - redis_before
    bench.say(
        idle_mb=bench.idle_mb,
        waiting_mb_above_idle=waiting_mb,
        queued=queued,
        redis_mb=redis_mb,
        cpu_percent_while_waiting=cpu_percent,
    )
    assert queued == WINDOW
    told = bench.status()
    assert (told["published"], told["problems"]) == (WINDOW, ["no worker answers"])
    assert told["waiting"] == STANDING or (told["waiting_has_more"] and WINDOW < told["waiting"] < STANDING)
    # All in flight are of one folder, the one that the walk is in.
    stories = {bench.why(name)["state"] for name in ("0/0.png", "1/1000.png")}
    assert {"due"} <= stories <= {"due", "in_flight"}
    assert waiting_mb < 30
    assert redis_mb < 10
    assert cpu_percent < 5
    bench.thumbdrop.drop("fresh.png", b"no image")
    time.sleep(1)
    with sink_for(bench) as sink:
        began_at = time.monotonic()
        bench.wait_taken(sink, DRAINED)
        seconds = time.monotonic() - began_at
        time.sleep(1)
    ahead = sink.taken.index(("inbox", "fresh.png"))
    bench.say(ahead_of_fresh=ahead, per_second=DRAINED / seconds, peak_mb_above_idle=bench.peak_mb - bench.idle_mb)
    bench.say(doubled=len(sink.doubled), left=len(bench.thumbdrop.standing()))
    assert ahead <= WINDOW
    assert sink.doubled == []
    assert len(bench.thumbdrop.standing()) == STANDING + 1 - len(sink.taken)
    assert bench.peak_mb - bench.idle_mb < 30
    assert "event.missed" not in bench.watcher().text


@pytest.mark.parametrize("way", ["written", "moved in"])
def test_a_burst_costs_no_memory_and_nothing_of_it_is_lost_or_published_twice(bench: Bench, way: str) -> None:
    bench.watch_idle()
    if way == "moved in":
        fill(bench.thumbdrop.folder / "outside", BURST)
    with sink_for(bench) as sink:
        began_at = time.monotonic()
        if way == "written":
            fill(bench.thumbdrop.inbox, BURST)
        else:
            for file in (bench.thumbdrop.folder / "outside").glob("*/*"):
                file.rename(bench.thumbdrop.inbox / f"{file.parent.name}-{file.name}")
        arrived_at = time.monotonic()
        bench.wait_taken(sink, BURST)
        seconds = time.monotonic() - began_at
        time.sleep(2)
    bench.say(
        files=BURST, arrived_in=arrived_at - began_at, done_in=seconds, peak_mb_above_idle=bench.peak_mb - bench.idle_mb
    )
    bench.say(doubled=len(sink.doubled), missed_events=bench.report()["missed_events"])
    assert (sink.doubled, len(sink.taken), bench.thumbdrop.standing()) == ([], BURST, [])
    assert bench.peak_mb - bench.idle_mb < 30
    assert bench.report()["missed_events"] == 0


def test_a_scan_that_sees_files_in_flight_publishes_none_of_them_again(bench: Bench) -> None:
    count = WINDOW + 36
    fill(bench.thumbdrop.inbox, count)
    bench.start()
    wait_until(lambda: bench.queued() == WINDOW, "the window is full")
    wait_until(lambda: bench.report().get("waiting") == {"ready": count - WINDOW}, "the others are ready")
    before = bench.report()["scan"]["finished_at"]
    assert bench.thumbdrop.command("scan").code == 0
    wait_until(lambda: bench.report()["scan"]["finished_at"] > before + 0.5, "everything was seen once more")
    with sink_for(bench) as sink:
        bench.wait_taken(sink, count)
        time.sleep(2)
    assert (len(sink.taken), sink.doubled) == (count, [])


@pytest.mark.parametrize("bench", [{"more": SECOND}], indirect=True)
def test_two_inboxes_share_the_window_fairly(bench: Bench) -> None:
    for root in (bench.thumbdrop.inbox, bench.thumbdrop.folder / "inbox2"):
        fill(root, 1_000)
    fill(bench.thumbdrop.inbox, BURST, "more")
    time.sleep(SETTLE_SECONDS)
    bench.start()
    with sink_for(bench) as sink:
        bench.wait_taken(sink, 1_500)
    among_first = [inbox for inbox, _ in sink.taken[:1_500]]
    share = among_first.count("inbox2") / len(among_first)
    bench.say(share_of_the_second=share)
    assert 0.4 < share < 0.6
    assert sink.doubled == []


@pytest.mark.parametrize("bench", [{"after": "keep"}], indirect=True)
def test_two_scans_of_a_kept_inbox_publish_nothing(bench: Bench) -> None:
    fill(bench.thumbdrop.inbox, KEPT)
    bench.start()
    with sink_for(bench, keep=True) as sink:
        bench.wait_taken(sink, KEPT)
        wait_until(lambda: not bench.report()["scan"]["running"], "the first scan ends", PATIENCE)
        for number in (1, 2):
            before, cpu_before = bench.report()["scan"]["finished_at"], bench.cpu_seconds()
            assert bench.thumbdrop.command("scan").code == 0
            wait_until(lambda before=before: is_scanned(bench, before), "scanned", PATIENCE)  # type: ignore[misc]
            bench.say(**{f"cpu_seconds_of_scan_{number}": bench.cpu_seconds() - cpu_before})
    bench.say(files=KEPT, published=len(sink.taken), redis_mb=bench.redis_mb())
    assert bench.report()["scan"]["files"] == KEPT
    assert (len(sink.taken), sink.doubled) == (KEPT, [])


def is_scanned(bench: Bench, before: float) -> bool:
    report = bench.report()
    is_newer = report["scan"]["finished_at"] > before + 0.5 and not report["scan"]["running"]
    return is_newer and report["waiting"] == {"ready": 0}


def test_two_thousand_bad_files_do_not_slow_the_good_ones(bench: Bench) -> None:
    bench.start()
    bad = truncated(image_bytes("png", 64, 64))
    assert_good_ones_go_before(
        bench,
        BAD,
        "truncated",
        drop_bad=lambda: fill(bench.thumbdrop.inbox, BAD, "bad", bad),
        start_worker=lambda: bench.thumbdrop.start("worker", "--concurrency", "2"),
    )


@pytest.mark.root
def test_as_many_files_that_may_not_be_read_do_not_slow_the_good_ones(bench: Bench) -> None:
    """Files of somebody else, and a watcher and workers that run as root without the right to pass over their mode."""

    def start(*words: str) -> Running:
        return bench.thumbdrop.spawn([need("setpriv"), *BOUND, str(bench.thumbdrop.program), *words], words[0])

    def drop_them() -> None:
        outside = bench.thumbdrop.folder / "outside"
        fill(outside, UNREADABLE, content=image_bytes("png", 8, 8))
        for file in outside.glob("*/*"):
            os.chown(file, NOBODY, NOBODY)
            file.chmod(0o600)
        outside.rename(bench.thumbdrop.inbox / "bad")

    start("watch")
    assert_good_ones_go_before(
        bench,
        UNREADABLE,
        "permission",
        drop_bad=drop_them,
        start_worker=lambda: start("worker", "--concurrency", "2"),
    )
    bad = "bad/0/0.png"  # its story is told while it waits, and not while it is tried
    wait_until(lambda: f"owner nobody ({NOBODY})" in " ".join(bench.why(bad)["story"]), "why names the owner", PATIENCE)


def assert_good_ones_go_before(
    bench: Bench, count: int, reason: str, *, drop_bad: Callable[[], None], start_worker: Callable[[], Running]
) -> None:
    """Count the tries of so many that were put off for that reason, all due again, between good ones; `status` names them."""
    due, store = "thumbdrop:due:inbox", bench.server.client(1)
    worker = start_worker()
    drop_bad()
    wait_until(lambda: worker.text.count("image.put_off") >= count, "all bad ones were tried", PATIENCE, 0.2)
    worker.process.terminate()
    assert worker.wait() == 0
    wait_until(lambda: store.zcount(due, 0, time.time() * 1000) > 0.8 * count, "they are due again", PATIENCE, 0.5)
    told = bench.status()
    assert {group["reason"] for group in told["put_off"]} == {reason}
    assert (told["waiting"], told["waiting_has_more"]) == (count, False)
    assert told["put_off_total"] >= count - WINDOW, "the others are on their way"

    good = image_bytes("png", 8, 8)
    for number in range(GOOD):  # no two alike, so that none is a duplicate
        fill(bench.thumbdrop.folder / "good" / str(number), 1, content=good + str(number).encode())
    (bench.thumbdrop.folder / "good").rename(bench.thumbdrop.inbox / "good")
    began_at, worker = time.monotonic(), start_worker()
    wait_until(lambda: len(bench.thumbdrop.manifests()) == GOOD, f"{GOOD} good ones", PATIENCE, every=0.1)
    tried = worker.text.count("image.put_off")
    bench.say(good=GOOD, bad=count, tried_between=tried, seconds=time.monotonic() - began_at)
    # What was on its way already, every eighth place, and what comes while the test looks.
    assert tried <= WINDOW + GOOD / (TURN_EVERY - 1) + 0.1 * count
    assert len(bench.thumbdrop.standing()) == count
