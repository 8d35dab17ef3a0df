"""Whatever keeps events from an inbox: its files are found, the watcher says so, and later files come by event again."""

import ctypes
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from inbox_rig import Rig
from needs import need
from watcher import arming
from watcher.inotify_emitter import Emitter

FILES = [f"top/{folder}/below/{number}.jpg" for folder in range(12) for number in range(5)]


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(tmp_path / "inbox")
    (rig.root / "sub").mkdir()
    yield rig.online()
    rig.close()


def write(path: Path) -> str:
    path.write_bytes(b"x")
    return path.name


def emitter_of(rig: Rig) -> Emitter:
    return rig.hints._emitters["inbox"]


def assert_comes_by_event(rig: Rig, name: str) -> None:
    """The next scan is an hour away."""
    rig.step_until(lambda: rig.inbox.is_idle, "nothing left to do")
    before = rig.report()["missed_events"]
    scanned_at = rig.report()["scan"]["files"]
    (rig.root / name).write_bytes(b"x")
    rig.step_until(lambda: name in rig.ready, f"{name} ready", 5)
    assert (rig.report()["missed_events"], rig.report()["scan"]["files"]) == (before, scanned_at)


# -- deaf without a word


def assert_deafness_is_noticed_and_mended(rig: Rig, name: str, caplog: pytest.LogCaptureFixture) -> None:
    """After a file that no event told of, and a scan that finds it, the watches are made anew."""
    before = emitter_of(rig)
    assert name not in rig.steps(0.5)
    rig.inbox.want_scan()
    rig.step_until(lambda: name in rig.ready, f"{name} found by the scan")
    rig.publish_all()
    rig.step_until(lambda: rig.report()["missed_events"] == 1, "the miss is counted")
    rig.step_until(lambda: emitter_of(rig) is not before, "the watches are made anew")
    assert f"event.missed inbox=inbox files=1 path={name}" in caplog.text
    assert rig.report()["troubles"] == [f"missed: no event told of {name}"]


@pytest.mark.root
def test_a_mount_over_a_watched_directory_is_heard_once_a_scan_has_found_a_file_in_it(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    subprocess.run([need("mount"), "-t", "tmpfs", "tmpfs", str(rig.root / "sub")], check=True)
    try:
        write(rig.root / "sub/a.jpg")
        assert_deafness_is_noticed_and_mended(rig, "sub/a.jpg", caplog)
        assert_comes_by_event(rig, "sub/b.jpg")
    finally:
        rig.close()
        subprocess.run([need("umount"), str(rig.root / "sub")], check=True)


def test_an_observer_that_is_alive_and_deaf_is_replaced(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    deafen(rig)
    write(rig.root / "a.jpg")
    assert_deafness_is_noticed_and_mended(rig, "a.jpg", caplog)
    assert_comes_by_event(rig, "b.jpg")


def test_watches_are_made_anew_for_missed_events_no_more_than_once_a_minute(rig: Rig) -> None:
    for number in range(2):
        before = emitter_of(rig)
        deafen(rig)
        name = write(rig.root / f"{number}.jpg")
        rig.steps(0.3)
        rig.inbox.want_scan()
        rig.step_until(lambda name=name: name in rig.ready, "found by the scan")  # type: ignore[misc]
        rig.publish_all()
        rig.step_until(lambda number=number: rig.report()["missed_events"] == number + 1, "counted")  # type: ignore[misc]
        rig.steps(0.3)
        assert (emitter_of(rig) is before) == (number == 1)
    assert arming.REARM_SECONDS == 60


def deafen(rig: Rig) -> None:
    """Put another inotify instance, which watches nothing, in the place of the one that is read: nothing fails, all is quiet."""
    other = ctypes.CDLL(None).inotify_init1(os.O_NONBLOCK)
    os.dup2(other, emitter_of(rig)._reader._inotify_fd)
    os.close(other)


# -- dead


def lose_descriptor(rig: Rig) -> None:
    """Let the next read fail with EBADF, as after somebody closed the descriptor; its number stays taken."""
    other = os.open(os.devnull, os.O_WRONLY)
    os.dup2(other, emitter_of(rig)._reader._inotify_fd)
    os.close(other)


def end_emitter(rig: Rig) -> None:
    """Raise an exception in the thread that makes hints, at its next step."""
    thread = ctypes.c_ulong(emitter_of(rig).ident or 0)
    assert ctypes.pythonapi.PyThreadState_SetAsyncExc(thread, ctypes.py_object(SystemExit)) == 1


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("kill", [lose_descriptor, end_emitter])
def test_a_dead_observer_is_replaced_and_what_came_meanwhile_is_found(
    rig: Rig, kill: Callable[[Rig], None], caplog: pytest.LogCaptureFixture
) -> None:
    before = emitter_of(rig)
    kill(rig)
    write(rig.root / "a.jpg")
    write(rig.root / "sub/b.jpg")
    rig.wait_ready("a.jpg", "sub/b.jpg")
    rig.step_until(lambda: rig.hints._emitters.get("inbox") not in (None, before), "watched anew")
    assert "watch.dead inbox=inbox" in caplog.text
    assert any(trouble.startswith("dead: ") for trouble in rig.report()["troubles"])
    assert_comes_by_event(rig, "c.jpg")


def test_an_observer_that_keeps_dying_does_not_keep_the_loop_busy(rig: Rig) -> None:
    seen = set()
    until = time.monotonic() + 3.0
    while time.monotonic() < until:
        if emitter := rig.hints._emitters.get("inbox"):
            seen.add(id(emitter))
            emitter._stopped_event.set()
            emitter._reader._stopped_event.set()
        write(rig.root / "a.jpg")
        rig.step()
        time.sleep(0.02)
    assert len(seen) <= 2


# -- directories that appear with their content


def fill(root: Path) -> None:
    for name in FILES:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")


def test_directories_made_and_filled_at_once_lose_nothing(rig: Rig) -> None:
    fill(rig.root)
    assert_all_are_ready_without_a_scan(rig, FILES)
    assert_comes_by_event(rig, "top/3/below/late.jpg")


def test_trees_that_arrive_by_a_command_lose_nothing(rig: Rig, tmp_path: Path) -> None:
    need("unzip")
    commands = {
        "cp": "cp -r outside inbox/cp",
        "mv": "cp -r outside moving && mv moving inbox/mv",
        "tar": "mkdir inbox/tar && tar -C outside -cf - top | tar -C inbox/tar -xf -",
        "zip": "cd outside && python3 -m zipfile -c ../a.zip top && unzip -q ../a.zip -d ../inbox/zip",
    }
    fill(tmp_path / "outside")
    for command in commands.values():
        subprocess.run(["sh", "-ec", command], cwd=tmp_path, check=True)
    assert_all_are_ready_without_a_scan(rig, [f"{way}/{name}" for way in commands for name in FILES])


def test_more_directories_at_once_than_are_looked_at_one_by_one_lose_nothing(rig: Rig) -> None:
    names = [f"d{number}/a.jpg" for number in range(300)]
    for name in names:
        (rig.root / name).parent.mkdir()
        (rig.root / name).write_bytes(b"x")
    rig.step_until(lambda: set(names) <= set(rig.ready), "all ready")
    rig.publish_all()
    rig.steps(2.5)
    assert rig.report()["missed_events"] == 0


def assert_all_are_ready_without_a_scan(rig: Rig, names: list[str]) -> None:
    rig.step_until(lambda: set(names) <= set(rig.ready), "all ready", 20)
    rig.publish_all()
    rig.steps(2.5)
    assert sorted(rig.ready) == sorted(names)
    assert (rig.report()["missed_events"], rig.report()["scan"]["files"]) == (0, 0)


# -- the root goes away


def delete_and_recreate(root: Path) -> None:
    shutil.rmtree(root)
    root.mkdir()


def rename_away_and_replace(root: Path) -> None:
    root.rename(root.parent / "away")
    root.mkdir()
    (root.parent / "away" / "other.jpg").write_bytes(b"x")


def replace_by_rename(root: Path) -> None:
    (root.parent / "new").mkdir()
    root.rename(root.parent / "away")
    (root.parent / "new").rename(root)


@pytest.mark.parametrize("pause", [0.0, 0.5], ids=["at once", "after a while"])
@pytest.mark.parametrize("change", [delete_and_recreate, rename_away_and_replace, replace_by_rename])
def test_a_root_that_is_another_one_is_watched_anew(
    rig: Rig, change: Callable[[Path], None], pause: float, caplog: pytest.LogCaptureFixture
) -> None:
    change(rig.root)
    rig.steps(pause)
    write(rig.root / "a.jpg")
    rig.wait_ready("a.jpg")
    assert "watch.root_lost inbox=inbox" in caplog.text
    assert_comes_by_event(rig, "b.jpg")


@pytest.mark.root
def test_an_inbox_that_is_unmounted_is_offline_and_whole_again_after_it_is_mounted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mount = [need("mount"), "-t", "tmpfs", "tmpfs", str(tmp_path / "inbox")]
    umount = [need("umount"), str(tmp_path / "inbox")]
    rig = Rig(tmp_path / "inbox", require_mount=True)
    write(rig.root / "below the mount point.jpg")
    rig.step_until(lambda: "nothing is mounted" in rig.report()["offline_why"], "offline at the start")
    subprocess.run(mount, check=True)
    try:
        write(rig.root / "a.jpg")
        rig.wait_ready("a.jpg")
        subprocess.run(umount, check=True)
        rig.step_until(lambda: "nothing is mounted" in rig.report()["offline_why"], "offline")
        assert rig.steps(1.0) == ["a.jpg"]
        subprocess.run(mount, check=True)
        write(rig.root / "b.jpg")
        rig.wait_ready("a.jpg", "b.jpg")
        assert caplog.text.count("inbox.offline") >= 2
        assert_comes_by_event(rig, "c.jpg")
    finally:
        rig.close()
        subprocess.run(umount, check=False)


# -- the loop's waits


def test_an_inbox_that_is_offline_lets_the_loop_sleep(tmp_path: Path) -> None:
    rig = Rig(tmp_path / "inbox", require_mount=True)
    rig.steps(0.1)
    assert rig.inbox.next_at(time.monotonic()) > time.monotonic() + 0.5
    rig.close()


def test_a_burst_that_fills_every_table_lets_the_loop_sleep(rig: Rig) -> None:
    for number in range(2_600):
        write(rig.root / f"{number}.jpg")

    def step() -> None:
        now = time.monotonic()
        hints, troubles = rig.hints.drain()
        for trouble in troubles:
            rig.inbox.trouble(trouble, now)
        for hint in hints:
            rig.inbox.hinted(hint, now)
        rig.inbox.step(now, time.time_ns(), 0.1)

    until = time.monotonic() + 3.0
    while time.monotonic() < until:  # nobody takes what is ready
        step()
        time.sleep(0.02)
    waiting = rig.report()["waiting"]
    assert sum(waiting.values()) >= 2_600, waiting
    sleeps = []
    for _ in range(5):
        step()
        sleeps.append(rig.inbox.next_at(time.monotonic()) - time.monotonic())
        time.sleep(0.4)
    assert sorted(sleeps)[2] > 0.3, sleeps
