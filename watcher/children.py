"""One part of `thumbdrop up` as a child process: started tied to its parent, read line by line, told to stop.

Knows no other part and no order. What a reader would get wrong: the tie (PR_SET_PDEATHSIG) belongs to the *thread*
that forked, prctl(2), so children are started from the main thread only, and `up` has no other.
"""

import ctypes
import os
import signal
import subprocess
from collections.abc import Collection, Mapping, Sequence

_PR_SET_PDEATHSIG = 1
_LONGEST_LINE_BYTES = 64 * 1024
_libc = ctypes.CDLL(None, use_errno=True)  # loaded here, because nothing may be loaded between fork and exec

FIRST_WAIT_SECONDS = 1.0
LONGEST_WAIT_SECONDS = 30.0
SETTLED_AFTER_SECONDS = 60.0


def next_wait(previous_seconds: float, lived_seconds: float) -> float:
    """Say how many seconds until a part that died is started again: one, doubling to thirty; a minute of life begins anew."""
    if lived_seconds >= SETTLED_AFTER_SECONDS or previous_seconds == 0:
        return FIRST_WAIT_SECONDS
    return min(previous_seconds * 2, LONGEST_WAIT_SECONDS)


def describe_exit(returncode: int) -> str:
    """Put into words how a process ended, from what subprocess calls its returncode (negative: minus the signal)."""
    if returncode >= 0:
        return f"ended with exit code {returncode}"
    try:
        return f"was killed by {signal.Signals(-returncode).name}"
    except ValueError:
        return f"was killed by signal {-returncode}"


class Child:
    """A running process in a session of its own; Ctrl-C at the terminal reaches only its parent.

    `output` is the descriptor that its standard output and error arrive at, non-blocking.
    """

    def __init__(self, argv: Sequence[str], environ: Mapping[str, str], keep_fds: Collection[int] = ()) -> None:
        parent = os.getpid()

        def tie_to_parent() -> None:
            # SIGKILL: a server that is asked to end removes its socket's name, under which a new one may stand already.
            _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:  # it died before the tie held
                os._exit(1)

        self._popen = subprocess.Popen(
            argv,
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=keep_fds,
            preexec_fn=tie_to_parent,  # noqa: PLW1509 - there are no threads here
        )
        if self._popen.stdout is None:
            raise AssertionError("a pipe was asked for")
        self._pipe = self._popen.stdout
        self._begun_line = b""
        self.has_closed_output = False
        self.output = self._pipe.fileno()
        os.set_blocking(self.output, False)

    @property
    def pid(self) -> int:
        """The process id."""
        return self._popen.pid

    def exit_code(self) -> int | None:
        """None while it runs, else its exit code or minus the signal that killed it."""
        return self._popen.poll()

    def send(self, number: signal.Signals) -> None:
        """Send a signal; SIGKILL goes to the whole session, so that none of its own children is left."""
        if self.exit_code() is not None:
            return
        if number == signal.SIGKILL:
            os.killpg(self.pid, number)
        else:
            self._popen.send_signal(number)

    def read_lines(self) -> list[bytes]:
        """Take the lines that have arrived whole by now; a very long one in pieces."""
        text = self._begun_line + self._read()
        *lines, self._begun_line = text.split(b"\n")
        if len(self._begun_line) > _LONGEST_LINE_BYTES:
            lines.append(self._begun_line)
            self._begun_line = b""
        return lines

    def close(self) -> list[bytes]:
        """Stop listening; return what it said last."""
        lines: list[bytes] = []
        while arrived := self.read_lines():
            lines += arrived
        self._pipe.close()
        return [*lines, self._begun_line] if self._begun_line else lines

    def _read(self) -> bytes:
        try:
            text = os.read(self.output, _LONGEST_LINE_BYTES)
        except BlockingIOError:
            return b""
        self.has_closed_output = not text
        return text
