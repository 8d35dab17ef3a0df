"""Run Python code whose system calls fail, are held or kill it at a chosen moment (strace's fault injection)."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from needs import ROOT, need
from waiting import wait_until

_ENVIRONMENT = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "PYTHONDONTWRITEBYTECODE": "1"}
_FOR_EVER = "delay_enter=300000000"


def run_to_end(inject: list[str], code: str, *arguments: str | Path, only: str = "") -> tuple[int, str, str]:
    """Run `code` with strace's `inject` expressions in force, like "renameat2:error=EINVAL"; (exit code, out, errors).

    `only` restricts them to calls that name this path. A killed program's exit code is -9 or 137.
    """
    with _started([], inject, code, arguments, only) as child:
        printed, trouble = child.communicate(timeout=30)
    return child.returncode, printed, trouble


def run_with(inject: list[str], code: str, *arguments: str | Path, only: str = "") -> str:
    """Run `code` like `run_to_end` and return what it printed; AssertionError with its traceback when it fails."""
    status, printed, trouble = run_to_end(inject, code, *arguments, only=only)
    assert status == 0, trouble
    return printed


class Held:
    """A program that stands still on entering a system call."""

    def __init__(self, child: subprocess.Popen[str]) -> None:
        self._child = child

    def wait(self, evidence: Callable[[], object]) -> None:
        """Wait until it stands at the call; `evidence` is what its steps before that have left."""
        wait_until(evidence, "the program is on its way", seconds=20)
        wait_until(self._stands_still, "the program has come to the call", seconds=20)

    def has_open(self, path: Path) -> bool:
        """Whether it has that file open: evidence for `wait`."""
        with suppress(FileNotFoundError):  # it closes others meanwhile
            return any(os.path.samefile(fd, path) for fd in Path(f"/proc/{self._child.pid}/fd").iterdir())
        return False

    def release(self) -> str:
        """Let it go on, undisturbed from now on, to its end; what it printed."""
        os.kill(self._field("TracerPid"), signal.SIGTERM)
        printed, trouble = self._child.communicate(timeout=30)
        assert self._child.returncode == 0, trouble
        return printed

    def _stands_still(self) -> bool:
        # In a tracing stop for a tenth of a second: any other call is let through within microseconds.
        for _ in range(10):
            if "State:\tt" not in self._status():
                return False
            time.sleep(0.01)
        return True

    def _field(self, name: str) -> int:
        return int(self._status().split(f"{name}:")[1].split()[0])

    def _status(self) -> str:
        return Path(f"/proc/{self._child.pid}/status").read_text()


@contextmanager
def held_at(call: str, code: str, *arguments: str | Path) -> Iterator[Held]:
    """Start `code`, which is held on entering that call, like "renameat2" or "renameat2:when=2", until it is released."""
    name, _, when = call.partition(":")
    # -D: the child is the program itself and not strace, so that strace can go away while it lives; -I1: at once.
    with _started(["-D", "-I1"], [":".join(filter(None, [name, _FOR_EVER, when]))], code, arguments, "") as child:
        yield Held(child)


@contextmanager
def _started(
    options: list[str], inject: list[str], code: str, arguments: tuple[str | Path, ...], only: str
) -> Iterator[subprocess.Popen[str]]:
    calls = ",".join(expression.partition(":")[0] for expression in inject)
    command = [need("strace"), *options, "-f", "-qq", "-o", "/dev/null", f"--trace={calls}"]
    command += [f"--inject={expression}" for expression in inject] + (["-P", only] if only else [])
    command += [sys.executable, "-c", textwrap.dedent(code), *(str(argument) for argument in arguments)]
    child = subprocess.Popen(command, env=_ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with child:  # waits for its end, and closes the pipes
        try:
            yield child
        finally:
            child.kill()


class Attached:
    """strace at a process that was running already; what it saw is in `text`, a line a call."""

    def __init__(self, pid: int, calls: str, log: Path, inject: str = "") -> None:
        self._pid = pid
        self._log = log
        command = [need("strace"), "-f", "-qq", "-y", "-s", "200", "-o", str(log), f"--trace={calls}"]
        command += [f"--inject={inject}"] if inject else []
        self._strace = subprocess.Popen([*command, "-p", str(pid)], stderr=subprocess.DEVNULL)
        wait_until(self._is_there, f"strace is at {pid}", 20)

    @property
    def text(self) -> str:
        """The calls so far, oldest first."""
        return self._log.read_text(errors="backslashreplace")

    @property
    def has_ended(self) -> bool:
        """Whether the process is gone."""
        return self._strace.poll() is not None

    def detach(self) -> None:
        """Let the process go on, undisturbed."""
        self._strace.terminate()
        self._strace.wait(20)

    def _is_there(self) -> bool:
        assert self._strace.poll() is None, f"strace may not trace process {self._pid}"
        status = Path(f"/proc/{self._pid}/status").read_text()
        return f"TracerPid:\t{self._strace.pid}\n" in status


def kill_at(pid: int, call: str, number: int, log: Path) -> Attached:
    """Let a running process die of SIGKILL on entering `call` for the `number`th time from now on."""
    return Attached(pid, call, log, f"{call}:signal=KILL:when={number}")
