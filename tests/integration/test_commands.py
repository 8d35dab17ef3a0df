"""The command `thumbdrop` as people and scripts call it: exit codes, what goes to which stream, safe output."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from config.load import load
from servers import RedisServer
from tasks.errors import InputError, Reason
from tasks.messages import Arrival
from tasks.quarantine import Quarantine
from tasks.source import open_source

NASTY = os.fsdecode(b"caf\xe9 \x1b[31m\n\xe2\x80\xae.jpg")  # not UTF-8, an escape sequence, a newline, a bidi control


def thumbdrop(*arguments: str, cwd: Path, **changed: Any) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONWARNINGS": "error"}
    environ.pop("THUMBDROP_CONFIG", None)
    return subprocess.run(
        [sys.executable, "-P", "-m", "watcher.cli", *arguments],
        cwd=cwd,
        env=environ,
        capture_output=True,
        text=True,
        errors="surrogateescape",
        timeout=30,
        check=False,
        **changed,
    )


@pytest.fixture
def folder(tmp_path: Path, redis_server: RedisServer) -> Path:
    """A working directory with settings, an inbox and a library."""
    redis_server.flush()
    (tmp_path / "inbox").mkdir()
    (tmp_path / "library").mkdir()
    (tmp_path / "thumbdrop.toml").write_text(f'[broker]\nurl = "{redis_server.broker_url}"\n')
    return tmp_path


def quarantined(folder: Path, name: str, *, keep: bool = False) -> Path:
    """Set a file aside as the worker does; where it stands then."""
    settings = load(folder / "thumbdrop.toml", environ={}).settings
    file = folder / "inbox" / name
    file.parent.mkdir(exist_ok=True)
    file.write_text("no image")
    facts = file.stat()
    why = InputError(Reason.CORRUPT, f"could not decode {name}", "upload it again")
    with open_source(folder / "inbox", name) as source:
        arrival = Arrival("inbox", name, facts.st_size, facts.st_mtime_ns)
        entry = Quarantine(settings).put(arrival, source, why, attempts=1, first_seen_at=None, keep=keep)
    assert entry
    return folder / "library" / entry.path


def test_five_mistakes_in_one_file_give_five_lines_and_exit_code_78(folder: Path) -> None:
    (folder / "wrong.toml").write_text(
        '[[inbox]]\nsettle = 2\nafter = "burn"\n[library]\nfile_mode = 644\n[thumbnails]\nquality = 101\nsize = "1x1"\n'
    )
    for command in (["status"], ["watch"], ["watch", "--daemon"], ["worker"], ["up"], ["check"], ["config", "show"]):
        done = thumbdrop(*command, "--config", "wrong.toml", cwd=folder)
        assert done.returncode == 78, command
        lines = done.stderr.splitlines()
        assert len(lines) == 5, lines
        for key in ("inbox[0].settle", "inbox[0].after", "library.file_mode", "thumbnails.quality", "thumbnails.size"):
            assert any(line.startswith(key) for line in lines)
        assert done.stdout == ""


def test_a_settings_file_that_is_not_there_is_wrong_settings(folder: Path) -> None:
    assert thumbdrop("status", "--config", "nowhere.toml", cwd=folder).returncode == 78


def test_directories_that_cannot_be_made_are_an_error_and_no_traceback(folder: Path) -> None:
    done = thumbdrop("up", "--inbox", "/proc/nowhere/inbox", cwd=folder)
    assert done.returncode == 1
    assert "/proc/nowhere" in done.stderr
    assert "Traceback" not in done.stderr


def test_config_init_writes_a_file_that_is_valid_and_never_overwrites(folder: Path) -> None:
    assert thumbdrop("config", "init", "new.toml", cwd=folder).returncode == 0
    assert thumbdrop("config", "show", "--config", "new.toml", cwd=folder).returncode == 0
    before = (folder / "new.toml").read_text()
    again = thumbdrop("config", "init", "new.toml", cwd=folder)
    assert again.returncode == 1
    assert "is there already" in again.stderr
    assert (folder / "new.toml").read_text() == before
    assert thumbdrop("config", "init", cwd=folder).stdout == before


def test_config_show_tells_value_and_origin_of_every_key(folder: Path) -> None:
    rows = thumbdrop("config", "show", cwd=folder).stdout.splitlines()
    (quality,) = [row for row in rows if row.startswith("thumbnails.quality ")]
    assert quality.split() == ["thumbnails.quality", "82", "default"]
    assert any(row.startswith("broker.url") and f"file {folder}/thumbdrop.toml" in row for row in rows)
    shown = json.loads(thumbdrop("config", "show", "--json", cwd=folder).stdout)
    assert shown["settings"]["thumbnails"]["quality"] == 82
    assert shown["origins"]["thumbnails.quality"] == "default"


def test_status_reports_in_json_too_and_is_1_when_parts_are_missing(folder: Path) -> None:
    done = thumbdrop("status", "--json", cwd=folder)
    assert done.returncode == 1
    status = json.loads(done.stdout)
    assert status["inboxes"][0]["name"] == "inbox"
    assert "no worker answers" in status["problems"]


def test_check_is_0_for_a_sound_installation_and_1_with_remedies_otherwise(folder: Path) -> None:
    (folder / "thumbdrop.toml").write_text((folder / "thumbdrop.toml").read_text() + '[library]\nmin_free = "1MB"\n')
    assert thumbdrop("check", cwd=folder).returncode == 0
    (folder / "inbox").rmdir()
    done = thumbdrop("check", cwd=folder)
    assert done.returncode == 1
    assert "failed   inbox inbox" in done.stdout
    assert "to do: create or mount it" in done.stdout
    assert {finding["verdict"] for finding in json.loads(thumbdrop("check", "--json", cwd=folder).stdout)} >= {"failed"}


def test_hostile_names_reach_the_terminal_escaped_and_scripts_exactly(folder: Path) -> None:
    quarantined(folder, NASTY)
    listed = thumbdrop("quarantine", "list", cwd=folder)
    asked = thumbdrop("why", NASTY, cwd=folder)
    for output in (listed.stdout, asked.stdout):
        assert "\x1b" not in output
        assert "\u202e" not in output
        assert "caf\\xe9 \\x1b[31m\\n\\u202e.jpg" in output
    assert len(listed.stdout.splitlines()) == 1
    (entry,) = json.loads(thumbdrop("quarantine", "list", "--json", cwd=folder).stdout)
    assert entry["source"]["path"] == NASTY
    assert json.loads(thumbdrop("why", "--json", NASTY, cwd=folder).stdout)["state"] == "quarantined"


def test_retry_puts_files_back_under_their_own_name_however_they_are_named(folder: Path) -> None:
    ways = ["inbox/a.jpg", str(quarantined(folder, "b.jpg")), "library/quarantine/inbox/c.jpg.reason.json"]
    quarantined(folder, "a.jpg")
    quarantined(folder, "c.jpg")
    done = thumbdrop("quarantine", "retry", *ways, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert sorted(os.listdir(folder / "inbox")) == ["a.jpg", "b.jpg", "c.jpg"]
    assert thumbdrop("quarantine", "list", cwd=folder).stdout == ""


def test_retry_never_overwrites_and_says_what_is_in_the_way(folder: Path) -> None:
    place = quarantined(folder, "a.jpg")
    quarantined(folder, "b.jpg")
    (folder / "inbox" / "a.jpg").write_text("a newer one")
    done = thumbdrop("quarantine", "retry", "--all", cwd=folder)
    assert done.returncode == 1
    assert "a.jpg" in done.stderr
    assert (folder / "inbox" / "a.jpg").read_text() == "a newer one"
    assert place.exists()
    assert (folder / "inbox" / "b.jpg").exists(), "the others go back all the same"


def test_retry_of_a_kept_file_lets_the_watcher_look_again(folder: Path, redis_server: RedisServer) -> None:
    quarantined(folder, "a.jpg", keep=True)
    facts = (folder / "inbox" / "a.jpg").stat()
    arrival = Arrival("inbox", "a.jpg", facts.st_size, facts.st_mtime_ns)
    with redis_server.client() as client:
        client.sadd("thumbdrop:kept:inbox", arrival.id)
        assert thumbdrop("quarantine", "retry", "--all", cwd=folder).returncode == 0
        assert client.scard("thumbdrop:kept:inbox") == 0


def test_drop_asks_first_and_deletes_only_what_was_named(folder: Path) -> None:
    first, second = quarantined(folder, "a.jpg"), quarantined(folder, "b.jpg")
    assert thumbdrop("quarantine", "drop", str(first), cwd=folder, input="n\n").returncode == 1
    assert first.exists()
    assert thumbdrop("quarantine", "drop", "--yes", str(first), cwd=folder).returncode == 0
    assert not first.exists()
    assert second.exists()


def test_a_file_that_is_not_in_quarantine_is_an_error(folder: Path) -> None:
    done = thumbdrop("quarantine", "drop", "--yes", "nothing.jpg", cwd=folder)
    assert done.returncode == 1
    assert "nothing.jpg is not in quarantine" in done.stderr


@pytest.mark.parametrize("command", [["status"], ["why", "x.jpg"], ["quarantine", "list"], ["check"]])
def test_the_commands_that_ask_never_load_pillow(folder: Path, command: list[str]) -> None:
    script = (
        "import sys\nfrom watcher.cli import main\n"
        "try:\n    main(sys.argv[1:], prog_name='thumbdrop')\n"
        "finally:\n    print('LOADED', sorted({'PIL', 'watchdog'} & set(sys.modules)))"
    )
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "-c", script, *command], cwd=folder, env=environ, capture_output=True, text=True, check=False
    )
    assert "LOADED []" in done.stdout, done.stderr
