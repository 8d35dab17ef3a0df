"""Detaching from the terminal, with real processes: pid file, lock, umask, errors before the terminal is gone."""

import fcntl
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from waiting import wait_until
from watcher.daemonize import AlreadyRunningError, PidFile

DAEMON = """
    import os, sys, time
    from pathlib import Path
    from watcher.daemonize import detach
    folder = Path(sys.argv[1])

    def run():
        (folder / "made").write_text(f"{os.getsid(0) != int(sys.argv[2])} {os.getcwd()}")
        print("said by the daemon", flush=True)
        while not (folder / "end").exists():
            time.sleep(0.02)
        return 0

    sys.exit(detach(run, folder / "watcher.pid", folder / "watcher.log"))
"""


def start(folder: Path) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", textwrap.dedent(DAEMON), str(folder), str(os.getsid(0))]
    # The output goes to a file: a pipe would be held open by a daemon that kept it.
    with (folder / "terminal").open("w") as terminal:
        done = subprocess.run(command, stdout=terminal, stderr=terminal, env=environ, check=False, timeout=20, umask=0)
    return subprocess.CompletedProcess(command, done.returncode, (folder / "terminal").read_text())


def pid_in(folder: Path) -> int:
    return int((folder / "watcher.pid").read_text())


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except FileNotFoundError:
        return False


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    file = tmp_path / "watcher.pid"
    pid = int(file.read_text() or 0) if file.exists() else 0
    if pid and is_running(pid):
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not is_running(pid), "the daemon is gone")


def test_the_command_returns_when_the_pid_stands_in_its_file(folder: Path) -> None:
    assert start(folder).returncode == 0
    assert is_running(pid_in(folder))


def test_the_daemon_has_left_the_terminal_and_its_lines_go_to_the_log(folder: Path) -> None:
    start(folder)
    wait_until(lambda: "said by the daemon" in (folder / "watcher.log").read_text(), "a line in the log")
    assert (folder / "made").read_text() == "True /"
    assert (folder / "terminal").read_text() == ""


def test_its_files_are_not_writable_by_everybody(folder: Path) -> None:
    start(folder)
    made = folder / "made"
    wait_until(made.exists, "the daemon's file")
    assert made.stat().st_mode & 0o022 == 0


def test_a_second_one_is_refused_at_the_terminal_and_names_the_first(folder: Path) -> None:
    start(folder)
    second = start(folder)
    assert second.returncode == 1
    assert f"is locked by process {pid_in(folder)}" in second.stdout


def test_a_pid_file_left_by_a_kill_is_taken_over(folder: Path) -> None:
    start(folder)
    first = pid_in(folder)
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: not is_running(first), "the first daemon is gone")
    assert start(folder).returncode == 0
    assert pid_in(folder) != first


def test_an_orderly_end_removes_the_pid_file(folder: Path) -> None:
    start(folder)
    (folder / "end").touch()
    wait_until(lambda: not (folder / "watcher.pid").exists(), "the pid file is gone")


def test_a_pid_file_that_cannot_be_made_is_an_error_at_the_terminal(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        PidFile(tmp_path / "nowhere" / "watcher.pid").take()


def test_the_lock_of_a_pid_file_that_was_removed_meanwhile_is_worth_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = fcntl.flock
    lost = iter([tmp_path / "watcher.pid"])

    def lose_the_name_first(fd: int, operation: int) -> None:
        """Lock as the kernel does, once just after the last owner has removed the file."""
        for path in lost:
            path.unlink()
        lock(fd, operation)

    monkeypatch.setattr(fcntl, "flock", lose_the_name_first)
    pid_file = PidFile(tmp_path / "watcher.pid")
    pid_file.take()
    with pytest.raises(AlreadyRunningError):
        PidFile(tmp_path / "watcher.pid").take()
    pid_file.remove()
