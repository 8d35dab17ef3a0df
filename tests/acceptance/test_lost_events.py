"""The real watcher when the kernel does not tell it: a queue that overflows while it is stopped, and no watches left."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from needs import missing, need
from running import MakeThumbdrop, Running, Thumbdrop
from servers import RedisServer
from sink import Sink
from waiting import wait_until

pytestmark = [pytest.mark.faults]

SETTINGS = """\
[[inbox]]
path = "inbox"
settle = "300ms"
[library]
path = "library"
min_free = "1MB"
[watcher]
rescan = "1h"
[broker]
url = "{broker}"
[results]
url = "{results}"
"""
UNSHARE = ("unshare", "--user", "--map-root-user")
LIMIT_FILE = "/proc/sys/user/max_inotify_watches"


@pytest.fixture
def thumbdrop(make_thumbdrop: MakeThumbdrop, redis_server: RedisServer) -> Iterator[Thumbdrop]:
    """Scans are an hour apart, so whatever is published in time was told by an event, or by a scan that had its reason."""
    redis_server.flush()
    made = make_thumbdrop(SETTINGS.format(broker=redis_server.broker_url, results=redis_server.results_url))
    (made.folder / "library").mkdir()
    yield made
    made.kill_everything()


@contextmanager
def sink_of(thumbdrop: Thumbdrop, server: RedisServer) -> Iterator[Sink]:
    with Sink(server, {"inbox": thumbdrop.inbox}) as sink:
        yield sink


def wait_taken(sink: Sink, *names: str, seconds: float = 60.0) -> None:
    wanted = {("inbox", name) for name in names}
    try:
        wait_until(lambda: wanted <= set(sink.taken), "all are taken", seconds, every=0.05)
    except AssertionError as error:
        raise AssertionError(f"not taken: {sorted(wanted - set(sink.taken))[:5]}") from error
    assert sink.doubled == []


def inbox_status(thumbdrop: Thumbdrop) -> dict[str, Any]:
    (inbox,) = thumbdrop.command("status", "--json").json["inboxes"]
    return dict(inbox)


def why(thumbdrop: Thumbdrop, name: str) -> dict[str, Any]:
    return dict(thumbdrop.command("why", f"inbox/{name}", "--json").json)


def touch(path: Path) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"no image")
    return path.name


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_ten_thousand_files_that_land_while_the_watcher_is_stopped_overflow_its_queue_and_are_all_found(
    thumbdrop: Thumbdrop, redis_server: RedisServer
) -> None:
    (thumbdrop.inbox / "late").mkdir()
    watch = thumbdrop.start("watch")
    watch.process.send_signal(signal.SIGSTOP)
    names = [f"late/{number}.jpg" for number in range(10_000)]
    try:
        for name in names:
            touch(thumbdrop.inbox / name)
        for number in range(max(0, max_queued_events() - 2 * len(names) + 1_000)):
            touch(thumbdrop.inbox / f"ignored{number}.tmp")
    finally:
        watch.process.send_signal(signal.SIGCONT)
    with sink_of(thumbdrop, redis_server) as sink:
        watch.wait_for("watch.overflow inbox=inbox")
        told = {"settling", "due", "in_flight", "unknown"}  # the last one when the sink has had it
        assert why(thumbdrop, names[-1])["state"] in told
        wait_until(
            lambda: any("overflow" in text for text in inbox_status(thumbdrop)["troubles"]), "status says so", 30
        )
        wait_taken(sink, *names, seconds=150)
        name = touch(thumbdrop.inbox / "late/by event.jpg")
        wait_taken(sink, f"late/{name}")
    assert inbox_status(thumbdrop)["missed_events"] == 0, "what is known to be lost is not called missed"
    assert len(sink.taken) == len(names) + 1


def max_queued_events() -> int:
    return int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())


# -- no watches left, in a user namespace whose limit is its own


@pytest.fixture
def limited(thumbdrop: Thumbdrop) -> Thumbdrop:
    if subprocess.run([need("unshare"), *UNSHARE[1:], "true"], check=False, capture_output=True).returncode:
        missing("may not make a user namespace")
    return thumbdrop


def start_with_watches(thumbdrop: Thumbdrop, limit: int) -> Running:
    script = f'echo {limit} > {LIMIT_FILE} && exec "$@"'
    return thumbdrop.spawn([*UNSHARE, "sh", "-c", script, "sh", str(thumbdrop.program), "watch"], "watch")


def allow_watches(watch: Running, limit: int) -> None:
    inside = ["nsenter", f"--target={watch.process.pid}", "--user", "--preserve-credentials"]
    subprocess.run([*inside, "sh", "-c", f"echo {limit} > {LIMIT_FILE}"], check=True)


def shortage(thumbdrop: Thumbdrop) -> str:
    """What `status` says about watches that could not be had; "" when there is nothing to say."""
    return next((trouble for trouble in inbox_status(thumbdrop)["troubles"] if "for want of watches" in trouble), "")


def assert_told_once(watch: Running, needed: int) -> None:
    (line,) = [line for line in watch.text.splitlines() if "watch.short" in line]
    assert f"needed={needed} " in line
    assert re.search(r'hint="sysctl user.max_inotify_watches=\d{6}"', line)


@pytest.mark.timeout(200)
@pytest.mark.parametrize("limit", [0, 5])
def test_out_of_watches_at_the_start_the_inbox_is_polled_until_the_limit_is_raised(
    limited: Thumbdrop, redis_server: RedisServer, limit: int
) -> None:
    for number in range(20):
        (limited.inbox / f"{number}").mkdir()
    watch = start_with_watches(limited, limit)
    with sink_of(limited, redis_server) as sink:
        names = [f"{number}/{touch(limited.inbox / f'{number}/a.jpg')}" for number in range(20)]
        wait_taken(sink, *names)
        if limit:
            assert_told_once(watch, needed=21)
        trouble = wait_until(lambda: shortage(limited), "status names the trouble", 30)
        assert "sysctl user.max_inotify_watches=" in trouble
        allow_watches(watch, 1000)
        watch.wait_for("watch.recovered inbox=inbox watches=21")
        wait_until(lambda: not shortage(limited), "status drops the trouble", 30)
        touch(limited.inbox / "19/b.jpg")
        wait_taken(sink, "19/b.jpg")
        assert inbox_status(limited)["watches"] == 21


@pytest.mark.timeout(200)
def test_out_of_watches_at_run_time_new_directories_are_polled_and_one_warning_says_what_it_takes(
    limited: Thumbdrop, redis_server: RedisServer
) -> None:
    watch = start_with_watches(limited, 3)
    with sink_of(limited, redis_server) as sink:
        for number in range(8):
            touch(limited.inbox / f"{number}/a.jpg")
        wait_taken(sink, *(f"{number}/a.jpg" for number in range(8)))
        watch.wait_for("watch.short inbox=inbox")
        time.sleep(1)
        for number in range(8):
            touch(limited.inbox / f"{number}/b.jpg")
        wait_taken(sink, *(f"{number}/b.jpg" for number in range(8)))
        assert watch.text.count("watch.short") == 1
    assert os.path.exists(f"/proc/{watch.process.pid}")
