"""All touching of one inbox's directory tree, behind questions and answers, so that a hung network mount stops nobody.

`LocalTree` looks at once, in this process. `RemoteTree` lets a child process look (`watcher.looker`), because a call
into a hung mount cannot be interrupted, and its process often not even killed. Both are used alike, from one thread:

    if not tree.busy:
        tree.ask(Look(("a.jpg",)))
    reply = tree.answer()          # never blocks; call it on every pass, also while nothing was asked

One question at a time. Every `ask` is answered exactly once, with `Failed` if need be. Whoever waits may wait on `fileno()`
(None: nothing to wait on, the answer is there or a back-off runs), but must come back within a second to see a deadline pass.
"""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Protocol

from watcher.looker import Looker
from watcher.names import Names
from watcher.tree_messages import Failed, Pull, Reply, Request, from_line, to_line

DEADLINE_SECONDS = 30.0  # a slow NFS server answers well within; sshfs that lost its server never does
_LONGEST_BACKOFF_SECONDS = 60.0
_READ_BYTES = 1 << 20


class Tree(Protocol):
    """What the daemon knows of a tree. `hung`: the last question ran into its deadline and none was answered since."""

    @property
    def busy(self) -> bool:
        """Whether nothing can be asked now."""

    @property
    def hung(self) -> bool:
        """Whether the file system does not answer."""

    def ask(self, request: Request) -> None:
        """Ask; RuntimeError while busy."""

    def answer(self) -> Reply | None:
        """Give the answer to the last question, once; None while there is none."""

    def fileno(self) -> int | None:
        """Give what becomes readable when an answer comes."""

    def close(self) -> None:
        """End all looking."""


def tree_for(root: str, names: Names, *, remote: bool, deadline_seconds: float) -> Tree:
    """Make the tree of an inbox; `remote` when any part of it lies on a network file system (`Layout.network_parts`)."""
    return RemoteTree(root, names, deadline_seconds) if remote else LocalTree(root, names)


class LocalTree:
    """Looks at once; the answer is there when `ask` returns."""

    hung = False

    def __init__(self, root: str, names: Names) -> None:
        self._looker = Looker(root, names)
        self._reply: Reply | None = None

    @property
    def busy(self) -> bool:
        """Whether the last answer was not fetched yet."""
        return self._reply is not None

    def ask(self, request: Request) -> None:
        """Ask; RuntimeError while busy."""
        if self.busy:
            raise RuntimeError("the last answer was not fetched")
        self._reply = self._looker.answer(request)

    def answer(self) -> Reply | None:
        """Give the answer to the last question, once."""
        reply, self._reply = self._reply, None
        return reply

    def fileno(self) -> int | None:
        """Give None: nobody has to wait."""
        return None

    def close(self) -> None:
        """End the walks."""
        self._looker.close()


class RemoteTree:
    """Lets a child process look, which is started at the first question and again after it died or hung.

    A question that is not answered within `deadline_seconds` (a `Pull` may take its own seconds on top) is answered with
    `Failed(hung=True)` and the child killed. One that even SIGKILL cannot end is left alone; until it is gone nothing can be asked,
    so there is never more than one. Between two starts lie 1 s, 2 s, 4 s ... up to a minute, until something is answered.
    """

    def __init__(self, root: str, names: Names, deadline_seconds: float = DEADLINE_SECONDS) -> None:
        self.hung = False
        self._root = root
        self._names = names
        self._deadline_seconds = deadline_seconds
        self._child: subprocess.Popen[bytes] | None = None
        self._left: subprocess.Popen[bytes] | None = None  # killed, and not gone yet
        self._answer_by: float | None = None  # monotonic; None while nothing is asked
        self._unsent = b""
        self._received = b""
        self._failures = 0
        self._start_at = 0.0

    @property
    def pid(self) -> int | None:
        """The child, for `status`; None while there is none."""
        return self._child.pid if self._child else None

    @property
    def busy(self) -> bool:
        """Whether a question is under way, the last child is not gone yet, or the next may not be started yet."""
        return self._answer_by is not None or self._left is not None or time.monotonic() < self._start_at

    def ask(self, request: Request) -> None:
        """Ask, and start a child if there is none. Raises RuntimeError while busy, OSError if no child can be started."""
        if self.busy:
            raise RuntimeError("nothing can be asked now")
        if self._child is None:
            self._start()
        own_seconds = request.seconds if isinstance(request, Pull) else 0.0
        self._answer_by = time.monotonic() + self._deadline_seconds + own_seconds
        self._unsent += to_line(request)
        self._send()

    def answer(self) -> Reply | None:
        """Give the answer to the last question, once. Never blocks; also buries what died."""
        if self._left and self._left.poll() is not None:
            self._left = None
        if self._child is None or self._answer_by is None:
            return None
        self._send()
        is_open = self._receive()
        line, newline, rest = self._received.partition(b"\n")
        if newline:
            self._received, self._answer_by, self._failures, self.hung = rest, None, 0, False
            return _reply_of(line)
        if not is_open:
            return self._give_up(Failed(f"the process that looks into {self._root} died"))
        if time.monotonic() > self._answer_by:
            self.hung = True
            why = f"{self._root} does not answer within {self._deadline_seconds:g} s"
            return self._give_up(Failed(why, hung=True))
        return None

    def fileno(self) -> int | None:
        """Give what becomes readable when an answer comes, or None."""
        return self._child.stdout.fileno() if self._child and self._child.stdout else None

    def close(self) -> None:
        """End the child; one that cannot be killed is left to the kernel."""
        self._drop_child()
        if self._left:
            try:
                self._left.wait(1.0)
            except subprocess.TimeoutExpired:
                return
            self._left = None

    def _start(self) -> None:
        package_parent = str(Path(__file__).resolve().parent.parent)
        places = [*filter(None, [os.environ.get("PYTHONPATH")]), package_parent]
        # -P: the current directory may be anywhere, an uploader's json.py must not be imported from it.
        command = [sys.executable, "-P", "-m", "watcher.looker", self._root]
        self._child = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(places)},
            start_new_session=True,  # Ctrl-C is for us; the child ends with its standard input
        )
        for pipe in (self._child.stdin, self._child.stdout):
            if pipe:
                os.set_blocking(pipe.fileno(), False)
        self._received = b""
        self._unsent = to_line({"ignore": self._names.ignore, "suffixes": self._names.suffixes})

    def _send(self) -> None:
        """Send as much as the pipe takes; a large question to a child that is slow to read goes in pieces."""
        pipe = self._child.stdin if self._child else None
        try:
            while pipe and self._unsent:
                self._unsent = self._unsent[os.write(pipe.fileno(), self._unsent) :]
        except BlockingIOError:
            pass
        except BrokenPipeError:  # it died: what it may have answered is read first
            self._unsent = b""

    def _receive(self) -> bool:
        """Take in what was answered; False when the child has closed its end."""
        pipe = self._child.stdout if self._child else None
        try:
            while pipe:
                read = os.read(pipe.fileno(), _READ_BYTES)
                if not read:
                    return False
                self._received += read
        except BlockingIOError:
            pass
        return True

    def _give_up(self, failed: Failed) -> Failed:
        self._drop_child()
        self._start_at = time.monotonic() + min(2.0**self._failures, _LONGEST_BACKOFF_SECONDS)
        self._failures += 1
        return failed

    def _drop_child(self) -> None:
        child, self._child, self._answer_by = self._child, None, None
        if child is None:
            return
        self._kill(child)
        for pipe in (child.stdin, child.stdout):
            if pipe:
                pipe.close()
        if child.poll() is None:
            self._left = child

    def _kill(self, child: subprocess.Popen[bytes]) -> None:
        child.kill()


def _reply_of(line: bytes) -> Reply:
    reply: Reply = from_line(line)
    return reply
