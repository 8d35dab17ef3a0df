"""The loop of `thumbdrop up`: keeps the parts running, passes their lines on, and stops them one after the other.

Knows parts by name only; which there are and in what order is decided in watcher/standalone.py. There are no threads:
signals, deaths and lines all end the same wait. What a reader would get wrong: the signal handlers do nothing, the
kernel's note in the wake-up descriptor is the whole message.
"""

import math
import os
import selectors
import signal
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from config.mistakes import EXIT_WRONG_SETTINGS
from watcher.children import Child, describe_exit, next_wait

Say = Callable[[str, str], None]  # (part's name, line)
Ladder = Sequence[tuple[signal.Signals, float]]  # what to send, and how many seconds to wait for the end

_ASKED_TO_STOP = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_HURRIED_SECONDS = 0.3
_READY_POLL_SECONDS = 0.05
_GATHER_SECONDS = 0.05  # what comes one after the other is taken together: a wake may take a worker's processor


@dataclass
class Part:
    """One part: how to start it, and how to stop it.

    `command` is asked at every start; an OSError of its means "later", anything else ends `up`. `is_ready` is asked
    after every start until it says yes.
    """

    name: str
    command: Callable[[], list[str]]
    stop_ladder: Ladder
    is_ready: Callable[[], bool] = lambda: True
    keep_fds: Collection[int] = ()
    was_ready: bool = field(default=False, init=False)  # in this life, or the last one
    child: Child | None = field(default=None, init=False)
    started_at: float = field(default=0.0, init=False)
    wait_seconds: float = field(default=0.0, init=False)
    start_at: float | None = field(default=None, init=False)  # monotonic time of the next start, when one is due
    exit_code: int | None = field(default=None, init=False)  # how its last life ended


class Crew:
    """The parts that were started; `say` gets every line of theirs and of our own ("up")."""

    def __init__(self, environ: Mapping[str, str], say: Say) -> None:
        self._environ = environ
        self._say = say
        self._parts: list[Part] = []
        self._selector = selectors.DefaultSelector()
        self._stop_requests = 0
        self.has_wrong_settings = False

    @property
    def should_stop(self) -> bool:
        """Whether somebody asked for the end, or a part found the settings wrong."""
        return self._stop_requests > 0 or self.has_wrong_settings

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Hear signals and deaths; everything else of this class happens inside."""
        reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._selector.register(reader, selectors.EVENT_READ, None)
        before = {number: signal.signal(number, _do_nothing) for number in (*_ASKED_TO_STOP, signal.SIGCHLD)}
        wakeup = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(wakeup)
            for number, action in before.items():
                signal.signal(number, action)
            self._selector.close()
            os.close(reader)
            os.close(writer)

    def start(self, part: Part) -> None:
        """Start a part; one that dies is started again from `pump`."""
        if part not in self._parts:
            self._parts.append(part)
        part.start_at = None
        part.started_at = time.monotonic()
        try:
            command = part.command()
            part.was_ready = False
            part.child = Child(command, self._environ, part.keep_fds)
        except OSError as error:
            self._start_later(part, f"could not be started: {error}")
            return
        self._selector.register(part.child.output, selectors.EVENT_READ, part)

    def pump(self, seconds: float) -> None:
        """Wait for whatever happens next, at most `seconds`, and see to it."""
        for key, _ in self._selector.select(min(seconds, self._patience_seconds())):
            if key.data is None:
                self._note_signals(key.fd)
            else:
                self._pass_on(key.data)
        self._bury()
        self._ask_who_is_ready()
        if not self.should_stop:
            self._start_due()

    def wait_for(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Pump until the condition holds; False when it does not in time, or as soon as somebody asks to stop."""
        requests, deadline = self._stop_requests, time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline or self._stop_requests > requests:
                return False
            self.pump(0.05)
        return True

    def run(self) -> None:
        """Keep the parts running until `should_stop`."""
        while not self.should_stop:
            self.pump(60.0)
            time.sleep(_GATHER_SECONDS)

    def stop(self, part: Part) -> None:
        """End a part, more and more firmly; somebody who asks again gets the firmer means at once."""
        part.start_at = None
        for number, seconds in part.stop_ladder:
            if part.child is None:
                return
            part.child.send(number)
            self.wait_for(lambda: part.child is None, seconds if self._stop_requests <= 1 else _HURRIED_SECONDS)
        if part.child is not None:
            self._say("up", f"{part.name} (pid {part.child.pid}) does not end")

    def _patience_seconds(self) -> float:
        if any(part.child and not part.was_ready for part in self._parts):
            return _READY_POLL_SECONDS
        due = [part.start_at for part in self._parts if part.start_at is not None]
        return max(0.0, min(due, default=math.inf) - time.monotonic())

    def _ask_who_is_ready(self) -> None:
        for part in self._parts:
            if part.child and not part.was_ready:
                part.was_ready = part.is_ready()

    def _note_signals(self, fd: int) -> None:
        self._stop_requests += sum(number in _ASKED_TO_STOP for number in os.read(fd, 256))

    def _pass_on(self, part: Part) -> None:
        if part.child is None:
            return
        self._repeat(part, part.child.read_lines())
        if part.child.has_closed_output:
            self._selector.unregister(part.child.output)

    def _repeat(self, part: Part, lines: Sequence[bytes]) -> None:
        for line in lines:
            self._say(part.name, line.decode(errors="backslashreplace"))

    def _bury(self) -> None:
        for part in self._parts:
            code = part.child.exit_code() if part.child else None
            if part.child is None or code is None:
                continue
            if not part.child.has_closed_output:
                self._selector.unregister(part.child.output)
            self._repeat(part, part.child.close())
            part.child, part.exit_code = None, code
            if code == EXIT_WRONG_SETTINGS:
                self.has_wrong_settings = True
            if not self.should_stop:
                self._start_later(part, describe_exit(code))

    def _start_later(self, part: Part, why: str) -> None:
        now = time.monotonic()
        part.wait_seconds = next_wait(part.wait_seconds, now - part.started_at)
        part.start_at = now + part.wait_seconds
        self._say("up", f"{part.name} {why}; starting it again in {part.wait_seconds:g} s")

    def _start_due(self) -> None:
        for part in self._parts:
            if part.start_at is not None and part.start_at <= time.monotonic():
                self.start(part)


def _do_nothing(_number: int, _frame: object) -> None:
    """Stand in for the default action; the wake-up descriptor carries the message."""
