"""One inbox with its real tree and real inotify: what becomes ready, when, and what is left alone."""

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from inbox_rig import Rig
from tasks.messages import Arrival
from waiting import wait_until


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(tmp_path / "inbox")
    yield rig
    rig.inbox.close()
    rig.hints.close()


def test_what_stood_there_before_the_start_is_found_by_the_first_scan(rig: Rig) -> None:
    (rig.root / "a").mkdir()
    (rig.root / "a/b.jpg").write_bytes(b"x")
    rig.wait_ready("a/b.jpg")


def test_a_file_still_being_written_is_not_ready_until_it_is_closed(rig: Rig) -> None:
    rig.online()
    with (rig.root / "a.jpg").open("wb") as file:
        file.write(b"half")
        file.flush()
        assert rig.steps(1.0) == [], "quiet for longer than settle, but open"
        file.write(b"whole")
    rig.wait_ready("a.jpg")
    assert rig.report()["missed_events"] == 0


def test_a_file_renamed_into_place_is_ready_at_once(tmp_path: Path) -> None:
    rig = Rig(tmp_path / "inbox", settle="1h")
    rig.online()
    (tmp_path / "outside.jpg").write_bytes(b"x")
    (tmp_path / "outside.jpg").rename(rig.root / "a.jpg")
    (rig.root / "written.jpg").write_bytes(b"x")
    rig.wait_ready("a.jpg")
    rig.inbox.close()


def test_a_tree_moved_in_is_found_whole_and_watched_from_then_on(rig: Rig, tmp_path: Path) -> None:
    rig.online()
    (tmp_path / "tree/deep").mkdir(parents=True)
    (tmp_path / "tree/deep/a.jpg").write_bytes(b"x")
    (tmp_path / "tree").rename(rig.root / "tree")
    rig.wait_ready("tree/deep/a.jpg")
    (rig.root / "tree/deep/b.jpg").write_bytes(b"x")
    rig.wait_ready("tree/deep/a.jpg", "tree/deep/b.jpg")


def test_what_is_no_candidate_never_becomes_ready_and_is_counted(rig: Rig, tmp_path: Path) -> None:
    (tmp_path / "secret.jpg").write_bytes(b"x")
    (rig.root / "link.jpg").symlink_to(tmp_path / "secret.jpg")
    os.mkfifo(rig.root / "fifo.jpg")
    (rig.root / ".hidden.jpg").write_bytes(b"x")
    (rig.root / "upload.jpg.filepart").write_bytes(b"x")
    (rig.root / "notes.txt").write_bytes(b"x")
    rig.online()
    assert rig.steps(0.5) == []
    assert rig.report()["ignored"] == {"not_regular": 2, "hidden": 1, "temporary": 1, "suffix": 1}
    (rig.root / "late.tmp").write_bytes(b"x")
    assert rig.steps(0.5) == [], "an event announces it no better than a scan"


def test_an_empty_file_waits_for_its_content(rig: Rig) -> None:
    rig.online()
    (rig.root / "a.jpg").touch()
    assert rig.steps(0.6) == []
    assert rig.report()["waiting"] == {"empty": 1, "ready": 0}
    (rig.root / "a.jpg").write_bytes(b"x")
    rig.wait_ready("a.jpg")


def test_an_empty_file_that_no_event_tells_of_is_taken_when_a_scan_finds_content_in_it(tmp_path: Path) -> None:
    rig = Rig(tmp_path / "inbox", watch="poll").online()
    (rig.root / "a.jpg").touch()
    rig.step_until(lambda: rig.report()["waiting"].get("empty") == 1, "it is seen empty")
    (rig.root / "a.jpg").write_bytes(b"x")
    rig.wait_ready("a.jpg")
    rig.close()


def test_a_root_that_goes_away_is_offline_and_what_stands_there_later_is_found(rig: Rig, tmp_path: Path) -> None:
    rig.online()
    rig.root.rename(tmp_path / "away")
    rig.step_until(lambda: not rig.inbox.is_online, "offline")
    assert "missing" in str(rig.report()["offline_why"])
    rig.root.mkdir()
    (rig.root / "new.jpg").write_bytes(b"x")
    (tmp_path / "away" / "old.jpg").write_bytes(b"x")
    rig.wait_ready("new.jpg")
    (rig.root / "by-event.jpg").write_bytes(b"x")
    rig.wait_ready("new.jpg", "by-event.jpg")


def test_a_replaced_root_is_watched_anew(rig: Rig, tmp_path: Path) -> None:
    rig.online()
    rig.root.rename(tmp_path / "away")
    rig.root.mkdir()
    (tmp_path / "away" / "old.jpg").write_bytes(b"x")
    (rig.root / "new.jpg").write_bytes(b"x")
    rig.wait_ready("new.jpg")
    (rig.root / "by-event.jpg").write_bytes(b"x")
    rig.wait_ready("new.jpg", "by-event.jpg")


def test_polling_finds_files_without_any_event(tmp_path: Path) -> None:
    rig = Rig(tmp_path / "inbox", watch="poll").online()
    assert rig.report()["backend"] == "poll"
    assert rig.report()["watches"] == 0
    (rig.root / "a.jpg").write_bytes(b"x")
    rig.wait_ready("a.jpg")
    rig.inbox.close()


def test_a_file_in_a_directory_that_just_appeared_was_announced_by_it(rig: Rig, tmp_path: Path) -> None:
    rig.online()
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "a.jpg").write_bytes(b"x")
    (tmp_path / "outside").rename(rig.root / "moved in")
    rig.wait_ready("moved in/a.jpg")
    rig.publish_all()
    rig.steps(3.0)
    assert rig.report()["missed_events"] == 0


def test_a_retry_whose_file_is_gone_or_changed_is_forgotten(rig: Rig) -> None:
    rig.online()
    gone = Arrival("inbox", "gone.jpg", 1, 2)
    rig.inbox.retry(gone, time.monotonic())
    rig.step_until(lambda: rig.forgotten == [gone], "forgotten")
    (rig.root / "a.jpg").write_bytes(b"x")
    changed = Arrival("inbox", "a.jpg", 99, 2)
    rig.inbox.retry(changed, time.monotonic())
    rig.wait_ready("a.jpg")
    assert rig.forgotten == [gone, changed]


def test_a_backlog_is_pulled_no_further_than_there_is_use_for_it(rig: Rig) -> None:
    rig.root.joinpath("deep").mkdir()
    for number in range(1000):
        (rig.root / f"deep/{number}.jpg").write_bytes(b"x")
    time.sleep(0.3)

    def holds() -> int:
        now, now_ns = time.monotonic(), time.time_ns()
        rig.inbox.step(now, now_ns, 0.1)
        report = rig.report()["waiting"]
        assert isinstance(report, dict)
        return sum(report.values())

    held = max(holds() for _ in range(50))
    assert 128 <= held <= 128 + 2 * 256
    rig.wait_ready(*(f"deep/{number}.jpg" for number in range(1000)), seconds=30)


def test_what_is_asked_in_vain_about_files_that_a_scan_found_is_part_of_its_cost(rig: Rig) -> None:
    for name in ("kept.jpg", "new.jpg"):
        (rig.root / name).write_bytes(b"x")
    rig.online()
    rig.wait_ready("kept.jpg", "new.jpg")
    before = rig.report()["scan"]["seconds"]
    for arrival in rig.taken:
        rig.inbox.answered(
            arrival, time.monotonic(), published=arrival.path == "new.jpg", cost_seconds=2.0 + len(arrival.path)
        )
    assert rig.report()["scan"]["seconds"] == pytest.approx(before + 2.0 + len("kept.jpg"))


def test_fresh_files_go_before_the_backlog(rig: Rig) -> None:
    for number in range(600):
        (rig.root / f"{number}.jpg").write_bytes(b"x")
    time.sleep(0.3)

    def is_online() -> bool:
        rig.inbox.step(time.monotonic(), time.time_ns(), 0.1)
        return rig.inbox.is_online

    wait_until(is_online, "online")
    rig.root.joinpath("fresh.png").write_bytes(b"x")
    until = time.monotonic() + 1.0
    while time.monotonic() < until:
        now, now_ns = time.monotonic(), time.time_ns()
        for hint in rig.hints.drain()[0]:
            rig.inbox.hinted(hint, now)
        rig.inbox.step(now, now_ns, 0.1)
    assert rig.inbox.take(1)[0].path == "fresh.png"


def test_a_folder_of_files_copied_in_loses_none(rig: Rig, tmp_path: Path) -> None:
    source = tmp_path / "source"
    for folder in range(20):
        (source / str(folder) / "below").mkdir(parents=True)
        for number in range(10):
            (source / str(folder) / "below" / f"{number}.jpg").write_bytes(b"x")
    rig.online()
    shutil.copytree(source, rig.root / "copied")
    expected = {f"copied/{folder}/below/{number}.jpg" for folder in range(20) for number in range(10)}
    rig.step_until(lambda: expected <= set(rig.ready), "all ready", seconds=20)
