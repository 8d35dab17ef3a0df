"""Without systemd: watcher and worker detach, are found by their pid files, reload and stop, and their logs are rotated."""

import os
import signal
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from images import image_bytes
from running import SETTINGS, MakeThumbdrop, Said, Thumbdrop
from servers import RedisServer
from waiting import wait_until

PARTS = {"watcher": ("watch",), "worker": ("worker", "--concurrency", "1")}


class Daemons:
    """Watcher and worker of one installation, each with a pid file and a log of its own in its folder."""

    def __init__(self, thumbdrop: Thumbdrop) -> None:
        self.thumbdrop = thumbdrop

    def start(self, part: str) -> Said:
        # Named relative to where it is started: a daemon's own directory is another.
        files = ("--pidfile", f"{part}.pid", "--logfile", f"{part}.log")
        return self.thumbdrop.command(*PARTS[part], "--daemon", *files)

    def pid(self, part: str) -> int:
        file = self.thumbdrop.folder / f"{part}.pid"
        return int((file.read_text() if file.exists() else "") or 0)

    def log(self, part: str) -> str:
        file = self.thumbdrop.folder / f"{part}.log"
        return file.read_text() if file.exists() else ""

    def wait_for(self, part: str, words: str, times: int = 1) -> None:
        wait_until(lambda: self.log(part).count(words) >= times, f"{part} says {words}", 40)

    def signal(self, part: str, number: int) -> None:
        os.kill(self.pid(part), number)


@pytest.fixture
def daemons(make_thumbdrop: MakeThumbdrop, redis_server: RedisServer) -> Iterator[Daemons]:
    redis_server.flush()
    thumbdrop = make_thumbdrop(f'{SETTINGS}\n[broker]\nurl = "{redis_server.broker_url}"\n')
    found = Daemons(thumbdrop)
    for part in PARTS:
        assert found.start(part).code == 0
    found.wait_for("watcher", "inbox.held")
    found.wait_for("worker", "worker.ready")
    yield found
    for part in PARTS:  # pytest shows it for a test that failed
        sys.stdout.write(f"--- {part}\n{found.log(part)}")


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except FileNotFoundError:
        return True


def test_they_work_and_stop_by_their_pid_files(daemons: Daemons) -> None:
    daemons.thumbdrop.drop("a/photo.jpg", image_bytes())
    daemons.thumbdrop.wait_done(1)
    for part in PARTS:
        pid = daemons.pid(part)
        assert os.getsid(pid) != os.getsid(0)
        daemons.signal(part, signal.SIGTERM)
        wait_until(partial(is_gone, pid), f"{part} is gone", 30)
        assert not daemons.pid(part)


def test_a_second_one_is_refused_and_a_pid_file_left_by_a_kill_is_taken_over(daemons: Daemons) -> None:
    for part in PARTS:
        pid = daemons.pid(part)
        second = daemons.start(part)
        assert second.code == 1
        assert f"{part}.pid is locked by process {pid}" in second.err.decode()
        daemons.signal(part, signal.SIGKILL)
        wait_until(partial(is_gone, pid), f"{part} is gone", 30)
        assert daemons.start(part).code == 0
        assert daemons.pid(part) != pid


def test_after_logrotate_they_go_on_in_a_new_file_children_included(daemons: Daemons) -> None:
    for part in PARTS:
        (daemons.thumbdrop.folder / f"{part}.log").rename(daemons.thumbdrop.folder / f"{part}.log.1")
    daemons.thumbdrop.drop("photo.jpg", image_bytes())
    daemons.wait_for("worker", "image.done")  # which a child says
    daemons.signal("watcher", signal.SIGTERM)
    daemons.wait_for("watcher", "watcher.stopped")
    assert "image.done" not in (daemons.thumbdrop.folder / "worker.log.1").read_text()


def test_a_worker_reads_its_settings_anew_on_sighup_unless_they_are_wrong(daemons: Daemons) -> None:
    file = daemons.thumbdrop.folder / "thumbdrop.toml"
    right, pid = file.read_text(), daemons.pid("worker")
    file.write_text(right.replace("min_free", "min_fee"))
    daemons.signal("worker", signal.SIGHUP)
    daemons.wait_for("worker", "settings.refused")
    assert "min_fee" in daemons.log("worker")
    assert daemons.pid("worker") == pid
    file.write_text(right.replace("320x320", "100x100"))
    daemons.signal("worker", signal.SIGHUP)
    daemons.wait_for("worker", "worker.ready", times=2)
    assert daemons.pid("worker")
    daemons.thumbdrop.drop("photo.jpg", image_bytes())
    daemons.thumbdrop.wait_done(1)
    assert (daemons.thumbdrop.library / "thumbnails/uncategorized/100x100/photo_100x100.jpg").is_file()


def test_a_watcher_goes_on_after_a_sighup(daemons: Daemons) -> None:
    pid = daemons.pid("watcher")
    daemons.signal("watcher", signal.SIGHUP)
    daemons.thumbdrop.drop("photo.jpg", image_bytes())
    daemons.thumbdrop.wait_done(1)
    assert daemons.pid("watcher") == pid


@pytest.mark.parametrize("part", PARTS)
def test_files_of_a_daemon_without_a_daemon_are_wrong_usage(make_thumbdrop: MakeThumbdrop, part: str) -> None:
    said = make_thumbdrop().command(*PARTS[part], "--pidfile", "x.pid")
    assert said.code == 2
    assert "go with --daemon" in said.err.decode()
