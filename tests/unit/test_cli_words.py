"""How the commands word things, and what they make of a path."""

import os
from dataclasses import dataclass

import pytest

from watcher.check_inotify import judge_inotify
from watcher.check_rights import judge_sharing
from watcher.check_servers import judge_redis
from watcher.check_units import judge_unit
from watcher.checks import judge_formats
from watcher.progress import PlainLines, progress_line
from watcher.story_place import InInbox, quarantined_of, slot_of
from watcher.wording import counted, listed, roughly


@dataclass
class Progress:
    total: int = 0
    done: int = 0
    quarantined: int = 0
    waiting: int = 0


@pytest.mark.parametrize(
    ("seconds", "words"), [(-3, "0.0 s"), (0.21, "0.2 s"), (12, "12 s"), (90, "2 min"), (7200, "2 h"), (200_000, "2 d")]
)
def test_durations_are_told_in_one_unit(seconds: float, words: str) -> None:
    assert roughly(seconds) == words


def test_counts_are_told_with_the_largest_first() -> None:
    assert listed({"hidden": 1, "suffix": 3}) == "3 suffix, 1 hidden"
    assert listed({}) == "none"
    assert (counted(1, "file"), counted(0, "file")) == ("1 file", "0 files")


def test_progress_is_a_plain_line_at_most_once_a_second_and_once_at_the_end() -> None:
    lines: list[str] = []
    now = [100.0]
    plain = PlainLines(lines.append, lambda: now[0])
    for done in range(8):
        plain.show(Progress(total=8, done=done))  # type: ignore[arg-type] # has its fields
        now[0] += 0.25
    plain.show(Progress(total=8, done=7, quarantined=1, waiting=2))  # type: ignore[arg-type] # has its fields
    now[0] += 0.1
    plain.finish()
    plain.finish()
    assert lines == ["0/8 done, 0 quarantined", "4/8 done, 0 quarantined", "7/8 done, 1 quarantined, 2 waiting"]


def test_a_progress_is_worded_for_people() -> None:
    assert progress_line(Progress(200, 42, 1)) == "42/200 done, 1 quarantined"  # type: ignore[arg-type] # has its fields


@pytest.mark.parametrize(
    ("path", "slot"),
    [
        ("thumbnails/a/b/640x640/photo_640x640.jpg", "a/b/photo"),
        ("thumbnails/a/200x200/x_640x640_200x200.webp", "a/x_640x640"),
        ("originals/a/photo.tar.jpg", "a/photo.tar"),
        ("manifests/a/photo~1234abcd.json", "a/photo~1234abcd"),
        ("manifests/photo.json", None),
        ("quarantine/inbox/photo.jpg", None),
        (".thumbdrop/up.toml", None),
    ],
)
def test_a_file_of_the_library_names_its_slot(path: str, slot: str | None) -> None:
    assert slot_of(path) == slot


def test_a_file_in_quarantine_names_its_inbox() -> None:
    assert quarantined_of("quarantine/inbox/a/b.jpg.reason.json") == InInbox("inbox", "a/b.jpg")
    assert quarantined_of("quarantine/inbox") is None
    assert quarantined_of("thumbnails/a/b.jpg") is None


def test_too_few_inotify_watches_are_a_warning_with_the_number_needed() -> None:
    assert judge_inotify(1, 1, 8192, 128, 16_384, user="me")[0].verdict == "ok"
    (finding,) = judge_inotify(1, 300_000, 192_536, 128, 16_384, user="me")
    assert finding.verdict == "warning"
    assert "max_user_watches=1200000" in finding.remedy


@pytest.mark.parametrize(
    ("inboxes", "instances", "events", "verdict", "sysctl"),
    [
        (1, 0, 16_384, "failed", "max_user_instances=1024"),
        (100, 128, 16_384, "warning", "max_user_instances=1024"),
        (1, 128, 512, "warning", "max_queued_events=16384"),
    ],
)
def test_too_few_inotify_instances_for_the_inboxes_or_events_are_told(
    inboxes: int, instances: int, events: int, verdict: str, sysctl: str
) -> None:
    (finding,) = judge_inotify(inboxes, 1, 8192, instances, events, user="me")
    assert finding.verdict == verdict
    assert sysctl in finding.remedy


def test_limits_that_a_sandbox_hides_are_no_failure() -> None:
    (finding,) = judge_inotify(1, 1, None, None, None, user="me")
    assert finding.verdict == "note"
    assert "ProcSubset=pid" in finding.what


UNIT = {"ProtectSystem": "strict", "ProtectHome": "yes", "ReadWritePaths": "/srv/thumbdrop -/mnt/in"}
PLACES = {"library": "/srv/thumbdrop/library", "inbox one": "/srv/thumbdrop/inbox"}


def test_a_unit_that_can_write_library_and_inboxes_by_one_path_is_fine() -> None:
    assert [finding.verdict for finding in judge_unit(UNIT, PLACES)] == ["ok"]


def test_a_unit_that_reaches_inbox_and_library_by_two_paths_copies() -> None:
    finding = judge_unit(UNIT, PLACES | {"inbox two": "/mnt/in/a"})[-1]
    assert (finding.verdict, "inbox two" in finding.what) == ("note", True)
    assert "copied" in finding.what


@pytest.mark.parametrize(
    ("path", "line"),
    [("/data/in", "ReadWritePaths=/data/in"), ("/srv/thumbdropped", "ReadWritePaths="), ("/home/a", "ProtectHome=no")],
)
def test_a_directory_that_a_unit_cannot_reach_fails_with_the_line_to_add(path: str, line: str) -> None:
    finding = judge_unit(UNIT, PLACES | {"inbox two": path})[-1]
    assert finding.verdict == "failed"
    assert line in finding.remedy


def test_a_group_inbox_without_setgid_is_told() -> None:
    assert judge_sharing("inbox a", "/a", facts(0o2775), is_acl=False) == []
    assert judge_sharing("inbox a", "/a", facts(0o755), is_acl=False) == []
    assert judge_sharing("inbox a", "/a", facts(0o775), is_acl=True) == []
    (finding,) = judge_sharing("inbox a", "/a", facts(0o775), is_acl=False)
    assert finding.remedy == "chmod g+s /a"


def facts(mode: int) -> os.stat_result:
    return os.stat_result((mode, 0, 0, 1, 0, 0, 0, 0, 0, 0))


def test_a_redis_that_suits_us_is_ok() -> None:
    info = {"redis_version": "7.0.15", "aof_enabled": 1, "maxmemory_policy": "noeviction"}
    assert [finding.verdict for finding in judge_redis("redis://x", info, "", 0.2)] == ["ok"]


@pytest.mark.parametrize(
    ("info", "save", "skew", "verdict", "words"),
    [
        ({"redis_version": "6.0.16", "aof_enabled": 1}, "", 0, "failed", "too old"),
        ({"redis_version": "7.2.0", "aof_enabled": 0}, "", 0, "warning", "keeps nothing on disk"),
        ({"redis_version": "7.2.0", "aof_enabled": 1, "maxmemory_policy": "allkeys-lru"}, "", 0, "warning", "thrown"),
        ({"redis_version": "7.2.0", "aof_enabled": 1, "rdb_last_bgsave_status": "err"}, "", 0, "failed", "to disk"),
        ({"redis_version": "7.2.0", "aof_enabled": 1}, "", -120, "warning", "2 min behind ours"),
    ],
)
def test_a_redis_that_does_not_suit_is_told_with_a_remedy(
    info: dict[str, object], save: str | None, skew: float, verdict: str, words: str
) -> None:
    finding = judge_redis("redis://x", info, save, skew)[-1]
    assert finding.verdict == verdict
    assert words in finding.what
    assert finding.remedy


def test_a_redis_that_snapshots_or_does_not_tell_is_not_warned_about() -> None:
    info = {"redis_version": "7.2.0", "aof_enabled": 0}
    assert len(judge_redis("redis://x", info, "3600 1", 0)) == 1
    assert len(judge_redis("redis://x", info, None, 0)) == 1


def test_a_missing_image_format_fails_only_if_thumbnails_are_wanted_in_it() -> None:
    assert judge_formats({"jpeg": True, "avif": True}, {"jpeg"})[0].verdict == "ok"
    assert [f.verdict for f in judge_formats({"jpeg": True, "avif": False}, {"jpeg"})] == ["warning"]
    assert [f.verdict for f in judge_formats({"jpeg": True, "avif": False}, {"avif"})] == ["failed"]
