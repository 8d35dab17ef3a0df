"""`thumbdrop up` as a process: the order of its parts, one at a time, and nothing left behind however it ends."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from servers import RedisServer, die_with_pytest
from waiting import wait_until

READY_SECONDS = 25.0


class Up:
    """A running `thumbdrop up` over `inbox` and `library` in a folder; its lines are in `output`."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        environ = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        environ.pop("THUMBDROP_CONFIG", None)
        self.folder = folder
        self._path = folder / f"output-{time.monotonic_ns()}"
        self._file = self._path.open("wb")
        command = [sys.executable, "-P", "-m", "watcher.cli", "up", "--workers", "1", *arguments]
        self.process = subprocess.Popen(
            command, cwd=folder, env=environ, stdout=self._file, stderr=self._file, preexec_fn=die_with_pytest
        )

    @property
    def output(self) -> str:
        return self._path.read_text()

    def parts(self) -> dict[int, str]:
        """The processes that belong to it, with their command lines: they carry the library's path."""
        return {pid: line for pid, line in command_lines() if str(self.folder) in line and pid != self.process.pid}

    def is_gone(self) -> bool:
        return not self.parts()

    def wait_until_ready(self) -> "Up":
        wait_until(self._is_ready, f"all parts are up, but: {self.output}", seconds=READY_SECONDS, every=0.1)
        return self

    def _is_ready(self) -> bool:
        assert self.process.poll() is None, self.output
        return "worker.ready" in self.output and "watcher.ready" in self.output

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._file.close()


def command_lines() -> Iterator[tuple[int, str]]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            yield int(entry.name), line


@pytest.fixture
def ups(tmp_path: Path) -> Iterator[list[Up]]:
    started: list[Up] = []
    yield started
    for up in started:
        up.kill()
    for up in started:
        wait_until(up.is_gone, "nothing is left behind")


@pytest.fixture
def up(tmp_path: Path, ups: list[Up]) -> Up:
    started = Up(tmp_path, "--inbox", str(tmp_path / "inbox"), "--library", str(tmp_path / "library"))
    ups.append(started)
    return started.wait_until_ready()


def part(up: Up, word: str) -> int:
    """The process id of a part: the oldest process with that word on its command line."""
    return min(pid for pid, line in up.parts().items() if word in line)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_the_parts_in_order_within_seconds_with_exit_code_0(up: Up, number: signal.Signals) -> None:
    up.process.send_signal(number)
    assert up.process.wait(20) == 0
    assert not up.parts()
    assert up.output.index("watcher.stopped") < up.output.index("Warm shutdown")


def test_it_says_where_to_drop_and_where_to_look_and_how_to_ask(up: Up, tmp_path: Path) -> None:
    said = up.output
    assert f"drop photos into   {tmp_path}/inbox" in said
    assert f"thumbnails appear  {tmp_path}/library/thumbnails" in said
    assert f"thumbdrop status --config {tmp_path}/library/.thumbdrop/up.toml" in said


def test_the_written_settings_are_private_and_the_other_commands_work_with_them(up: Up, tmp_path: Path) -> None:
    file = tmp_path / "library" / ".thumbdrop" / "up.toml"
    assert file.stat().st_mode & 0o077 == 0
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-m", "watcher.cli", "status", "--config", str(file)]

    def is_content() -> bool:
        done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
        return done.returncode == 0 and "1 worker" in done.stdout and "watching by" in done.stdout

    wait_until(is_content, "all is well")


def test_killing_it_leaves_no_children_behind_and_the_next_one_starts(up: Up, ups: list[Up], tmp_path: Path) -> None:
    assert len(up.parts()) >= 4
    up.process.kill()
    up.process.wait()
    wait_until(lambda: not up.parts(), "all parts are gone")
    again = Up(tmp_path, "--inbox", str(tmp_path / "inbox"), "--library", str(tmp_path / "library"))
    ups.append(again)
    again.wait_until_ready()


def test_a_second_one_on_the_same_library_is_refused_and_names_the_first(up: Up, ups: list[Up], tmp_path: Path) -> None:
    settings = (tmp_path / "library" / ".thumbdrop" / "up.toml").read_bytes()
    second = Up(tmp_path, "--inbox", str(tmp_path / "other"), "--library", str(tmp_path / "library"))
    assert second.process.wait(20) == 1
    assert f"another `thumbdrop up` (pid {up.process.pid} on " in second.output
    assert (tmp_path / "library" / ".thumbdrop" / "up.toml").read_bytes() == settings
    second.kill()


@pytest.mark.parametrize("word", ["redis-server", "watcher.cli watch", "watcher.cli worker", "beat"])
def test_a_part_that_is_killed_is_started_again_and_that_is_said(up: Up, word: str) -> None:
    killed = part(up, word)
    os.kill(killed, signal.SIGKILL)
    wait_until(lambda: "was killed by SIGKILL; starting it again in 1 s" in up.output, "it is said")
    wait_until(lambda: any(word in line for line in up.parts().values()), "it runs again")
    assert part(up, word) != killed


def test_settings_that_turn_wrong_end_everything_with_78(tmp_path: Path, ups: list[Up]) -> None:
    (tmp_path / "thumbdrop.toml").write_text("")
    up = Up(tmp_path)
    ups.append(up)
    up.wait_until_ready()
    (tmp_path / "thumbdrop.toml").write_text("[library]\nquality = 1\n")
    os.kill(part(up, "watcher.cli watch"), signal.SIGKILL)
    assert up.process.wait(25) == 78
    assert "library.quality" in up.output


def test_with_an_outside_broker_it_runs_no_redis_of_its_own(
    tmp_path: Path, ups: list[Up], redis_server: RedisServer
) -> None:
    redis_server.flush()
    (tmp_path / "thumbdrop.toml").write_text(f'[broker]\nurl = "{redis_server.broker_url}"\n')
    up = Up(tmp_path)
    ups.append(up)
    up.wait_until_ready()
    assert not any("redis-server" in line for line in up.parts().values())
    up.process.terminate()
    assert up.process.wait(20) == 0
