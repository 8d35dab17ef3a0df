"""`thumbdrop check` against real directories and servers."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from config.load import load
from config.settings import Settings
from servers import RabbitMQ, RedisServer
from unprivileged import reachable_directory, run_as_nobody
from watcher.check_places import check_group, check_inbox, check_library, judge_clock
from watcher.check_servers import check_broker, check_results
from watcher.checks import check_everything, check_formats
from watcher.finding import Finding


def settings_in(folder: Path, **changed: Any) -> Settings:
    overrides = {
        "inbox": [{"path": str(folder / "inbox")}],
        "library": {"path": str(folder / "library"), "min_free": "1MB"},
    }
    return load(environ={}, overrides=overrides | changed).settings


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "inbox").mkdir()
    (tmp_path / "library").mkdir()
    return tmp_path


def verdicts(findings: list[Finding]) -> set[str]:
    return {finding.verdict for finding in findings}


def test_a_sound_installation_has_no_failures_and_the_library_is_left_as_it_was(
    folder: Path, redis_server: RedisServer
) -> None:
    servers = {"broker": {"url": redis_server.broker_url}, "results": {"url": redis_server.results_url}}
    findings = check_everything(settings_in(folder, **servers))
    assert "failed" not in verdicts(findings), findings
    said = "\n".join(finding.what for finding in findings)
    for words in (
        "settings",
        "library",
        "inbox inbox: inotify",
        "broker redis+socket",
        "result store",
        "image formats",
    ):
        assert words in said
    assert list((folder / "library").iterdir()) == []


def test_missing_directories_fail_with_the_way_to_make_them(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    (library,) = check_library(settings)
    (inbox,) = check_inbox(settings.inbox[0], settings)
    assert (library.verdict, inbox.verdict) == ("failed", "failed")
    assert f"mkdir -p {tmp_path / 'library'}" in library.remedy
    assert "is missing" in inbox.what


def test_too_little_room_fails(folder: Path) -> None:
    settings = settings_in(folder, library={"path": str(folder / "library"), "min_free": "1000TB"})
    assert any(f.verdict == "failed" and "min_free" in f.what for f in check_library(settings))


def test_a_group_that_is_not_there_fails() -> None:
    (finding,) = check_group("no-such-group-here")
    assert (finding.verdict, finding.remedy) == ("failed", "groupadd no-such-group-here")


def test_another_file_system_for_the_inbox_is_worth_a_note(folder: Path) -> None:
    settings = settings_in(folder, inbox=[{"path": "/sys/kernel", "name": "other"}])
    found = check_inbox(settings.inbox[0], settings)
    assert any(f.verdict == "note" and "copied and not renamed" in f.what for f in found)


def test_an_embedded_redis_that_is_not_running_is_no_failure(folder: Path) -> None:
    settings = settings_in(folder)
    found = check_broker(settings) + check_results(settings)
    assert verdicts(found) == {"ok", "note"}


def test_servers_that_are_not_there_fail_without_showing_passwords(folder: Path) -> None:
    urls = {"broker": {"url": "amqp://me:secret@127.0.0.1:1/v"}, "results": {"url": "redis://:secret@127.0.0.1:1/0"}}
    found = check_broker(settings_in(folder, **urls)) + check_results(settings_in(folder, **urls))
    assert [finding.verdict for finding in found] == ["failed", "failed"]
    assert "secret" not in str(found)


def test_a_wrong_password_fails_at_rabbitmq_and_the_right_one_is_ok(folder: Path, rabbitmq: RabbitMQ) -> None:
    results = {"url": "redis://127.0.0.1:1/0"}
    right = settings_in(folder, broker={"url": rabbitmq.url}, results=results)
    assert verdicts(check_broker(right)) == {"ok"}
    wrong = settings_in(folder, broker={"url": rabbitmq.url.replace("celeryuser:", "celeryuser:x")}, results=results)
    (finding,) = check_broker(wrong)
    assert finding.verdict == "failed"
    assert "ACCESS_REFUSED" in finding.what


def test_the_image_formats_are_asked_of_another_process(folder: Path) -> None:
    (finding,) = check_formats(settings_in(folder))
    assert finding.verdict == "ok"
    assert "heic" in finding.what


def test_a_library_that_cannot_be_written_fails_even_for_root() -> None:
    found = check_library(settings_in(Path("/nowhere"), library={"path": "/sys/kernel", "min_free": "1MB"}))
    assert any(f.verdict == "failed" and "could not create a file in it" in f.what for f in found)


# Prints what `check_rights` finds on an inbox, and who is held to forbid writing it, as JSON.
ASK_AS_NOBODY = """
    import json, os, sys
    from config.settings import InboxSettings
    from watcher.check_rights import check_rights, who_else_forbids
    become_nobody()
    found = check_rights(InboxSettings(path=sys.argv[1]), "nobody")
    print(json.dumps([[one.verdict, one.what, one.remedy] for one in found] + [who_else_forbids(sys.argv[1], os.W_OK)]))
"""


@pytest.fixture
def inbox_of_root() -> Iterator[Path]:
    with reachable_directory() as folder:
        (folder / "inbox").mkdir()
        yield folder / "inbox"


@pytest.mark.root
def test_directories_that_the_service_may_not_empty_are_named_with_the_way_out(inbox_of_root: Path) -> None:
    inbox_of_root.chmod(0o2777)
    (inbox_of_root / "from-home").mkdir(mode=0o755)
    _, (verdict, what, remedy), _ = json.loads(run_as_nobody(ASK_AS_NOBODY, inbox_of_root))
    assert verdict == "warning"
    assert "from-home, which has mode 2755 and owner root (0)" in what
    assert remedy.startswith(f"chgrp nobody {inbox_of_root}/from-home && chmod g+rwxs ")


@pytest.mark.root
def test_an_inbox_that_may_not_be_emptied_fails_and_one_that_its_mode_would_allow_points_elsewhere(
    inbox_of_root: Path,
) -> None:
    inbox_of_root.chmod(0o755)
    (verdict, _, remedy), others = json.loads(run_as_nobody(ASK_AS_NOBODY, inbox_of_root))
    assert verdict == "failed"
    assert remedy.endswith('or set after = "keep"')
    assert others == ""
    inbox_of_root.chmod(0o777)
    assert "mode and owner allow it" in json.loads(run_as_nobody(ASK_AS_NOBODY, inbox_of_root))[-1]


@pytest.mark.root
def test_two_mounts_of_one_file_system_are_told_from_one(folder: Path) -> None:
    settings = settings_in(folder)
    assert not any("another mount" in f.what for f in check_inbox(settings.inbox[0], settings))
    # What two paths in ReadWritePaths= are to a service.
    subprocess.run(["mount", "--bind", folder / "inbox", folder / "inbox"], check=True)
    try:
        found = check_inbox(settings.inbox[0], settings)
    finally:
        subprocess.run(["umount", folder / "inbox"], check=True)
    assert any(f.verdict == "note" and "another mount of the library's own file system" in f.what for f in found)


def test_a_clock_that_is_far_off_is_told() -> None:
    assert judge_clock("library /x", 30.0) == []
    (finding,) = judge_clock("library /x", -7200.0)
    assert finding.verdict == "warning"
    assert "2 h behind ours" in finding.what
