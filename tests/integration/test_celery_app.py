"""`celery -A tasks` as people who know Celery call it: which app it finds, and what wrong settings come to."""

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from needs import ROOT
from tasks.broker_guard import GUARDED_KOMBU


def celery(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `celery -A tasks ...` in a folder."""
    return subprocess.run(
        [sys.executable, "-m", "celery", "-A", "tasks", *arguments],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": str(folder)},
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )


@pytest.mark.parametrize("command", [["worker"], ["beat"], ["inspect", "ping"]], ids=lambda c: c[0])
def test_wrong_settings_end_any_celery_command_with_78_and_every_mistake(tmp_path: Path, command: list[str]) -> None:
    (tmp_path / "thumbdrop.toml").write_text('[watcher]\nrescan = 30\n[library]\npth = "x"\n')
    done = celery(tmp_path, *command)
    assert done.returncode == 78, done.stderr
    assert "watcher.rescan" in done.stderr
    assert "library.pth" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_report_shows_the_app_and_no_password(tmp_path: Path) -> None:
    (tmp_path / "thumbdrop.toml").write_text('[broker]\nurl = "redis://:secret-word@localhost:1/0"\n')
    done = celery(tmp_path, "report")
    assert done.returncode == 0, done.stderr
    assert "thumbdrop" in done.stdout
    assert "secret-word" not in done.stdout


def test_the_guard_is_for_this_very_version_of_kombu() -> None:
    assert version("kombu") == GUARDED_KOMBU, (
        "does the guard in tasks/broker_guard.py still fit, or is it needed no more?"
    )
