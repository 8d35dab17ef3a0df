"""What is shipped: all that is needed, nothing that is not, and it runs away from the checkout."""

import os
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest

from installed import run_python
from needs import ROOT, missing, need

UNITS = {path.name for path in (ROOT / "systemd").iterdir()}


def run(installed: Path, folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a program of the installed environment far from the checkout, with nothing of this one's around."""
    environ = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    words = [str(installed / "bin" / command[0]), *command[1:]]
    return subprocess.run(words, cwd=folder, env=environ, capture_output=True, text=True, check=False, timeout=40)


def test_the_wheel_has_the_three_packages_and_nothing_else_at_its_top(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.partition("/")[0] for name in names if ".dist-info/" not in name and ".data/" not in name} == {
        "config",
        "tasks",
        "watcher",
    }
    sources = {
        str(path.relative_to(ROOT))
        for package in ("config", "tasks", "watcher")
        for path in ROOT.glob(f"{package}/*.py")
    }
    assert sources <= set(names)


def test_the_wheel_has_the_default_settings_and_the_licence(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert "config/thumbdrop.toml" in names
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


def test_the_units_are_installed_below_share_and_hide_no_python_package(installed: Path) -> None:
    assert {path.name for path in (installed / "share/thumbdrop/systemd").iterdir()} == UNITS
    (packages,) = installed.glob("lib/python*/site-packages")
    assert not (packages / "systemd").exists()


def test_the_installed_code_is_the_wheels_and_not_the_checkouts(installed: Path, tmp_path: Path) -> None:
    done = run(installed, tmp_path, "python", "-c", "import config, tasks, watcher; print(watcher.__file__)")
    assert done.stdout.startswith(str(installed)), done.stdout + done.stderr


def test_the_installed_command_runs(installed: Path, tmp_path: Path) -> None:
    done = run(installed, tmp_path, "thumbdrop", "--help")
    assert done.returncode == 0, done.stderr
    for command in ("up", "watch", "worker", "scan", "status", "why", "quarantine", "check", "config"):
        assert f"  {command} " in done.stdout


@pytest.mark.parametrize("unit", sorted(name for name in UNITS if name.endswith(".service") and "redis" not in name))
def test_a_units_command_line_is_one_that_the_installed_programs_take(
    installed: Path, tmp_path: Path, unit: str
) -> None:
    (line,) = (text for text in (ROOT / "systemd" / unit).read_text().splitlines() if text.startswith("ExecStart="))
    program, *arguments = line.removeprefix("ExecStart=").split()
    command = ["python", "-m", "celery"] if program.endswith("/celery") else ["thumbdrop"]
    done = run(installed, tmp_path, *command, *arguments, "--help")
    assert done.returncode == 0, done.stderr
    options = [word for word in arguments if word.startswith("--") and word != "--quiet"]  # which is the group's
    assert all(option in done.stdout for option in options)


def test_the_source_archive_holds_every_file_of_the_repository(tmp_path: Path) -> None:
    if not (ROOT / ".git").exists():
        missing("not a git checkout: nothing to compare the source archive with")
    listed = subprocess.run([need("git"), "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    run_python("-m", "hatchling", "build", "-t", "sdist", "-d", str(tmp_path))
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        names = {name.partition("/")[2] for name in opened.getnames()}
    assert set(listed.stdout.splitlines()) <= names
