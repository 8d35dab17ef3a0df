"""The watcher: one loop that lets each inbox look, offers what is complete to the publisher, and says how it does.

`step(now)` is one pass, which a test may call; `run()` only waits and calls it. Signal handlers put a word on the queue
that the loop waits on, nothing more. What a reader would get wrong: the loop itself touches neither Redis nor the broker
nor a network mount, so whatever hangs, it goes on, and systemd's watchdog is fed by that alone.
"""

import os
import resource
import selectors
import signal
import socket
import time
from collections import deque
from collections.abc import Callable, Container, Mapping
from types import FrameType
from typing import Any

from config.load import SettingsError
from config.logs import get_logger, printable
from config.notify import notify_systemd
from config.settings import InboxSettings, Settings
from config.urls import connect, results_url
from tasks.app import make_publisher
from tasks.leases import WORKING_MARGIN_SECONDS, Leases
from tasks.messages import Arrival
from watcher.hints import Hints
from watcher.inbox import Inbox
from watcher.publish import Answer, Publisher
from watcher.reload import reloaded
from watcher.sending import Sender
from watcher.writers import ignore_sigio

log = get_logger(__name__)

STORE_TIMEOUT_SECONDS = 2.0
STEP_SECONDS = 0.1  # how long one inbox may look before the next has its turn
LONGEST_WAIT_SECONDS = 1.0
REPORT_SECONDS = 1.0
GATHER_SECONDS = 0.005  # after a wake: what comes in a burst is taken together, or each event would cost a pass
BURST_SECONDS = (
    0.05  # a wake this soon after the last pass belongs to a burst; one after a rest is for a file that need not wait
)
GATHER_WHILE_FULL_SECONDS = 0.1  # the same while no slot is free, so that nothing could be offered anyway
REFUSED_WAIT_SECONDS = 1.0


class Wake:
    """Lets any thread, and any signal, end the loop's wait at once."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)
        self._is_closed = False

    def __call__(self) -> None:
        """End the wait that is going on, or the next one."""
        if self._is_closed:  # a thread that hangs may outlive the loop, and the descriptor be another file's by then
            return
        try:
            os.write(self._write, b"w")
        except BlockingIOError:
            return  # it is full of wishes already

    def fileno(self) -> int:
        """What becomes readable."""
        return self._read

    def heard(self) -> None:
        """Forget the wishes so far."""
        try:
            while os.read(self._read, 4096):
                pass
        except BlockingIOError:
            return

    def close(self) -> None:
        """Close both ends."""
        self._is_closed = True
        os.close(self._read)
        os.close(self._write)


class Watcher:
    """All inboxes of one installation, their observer and their publisher; `read` gives the settings as they are now."""

    def __init__(self, settings: Settings, read: Callable[[], Settings] | None = None) -> None:
        self._settings = settings
        self._read = read
        self.wake = Wake()
        self._words: deque[str] = deque()
        self._hints = Hints(self.wake)
        leases = Leases(connect(results_url(settings), STORE_TIMEOUT_SECONDS), settings.limits.task_time_seconds)
        self.publisher = Publisher(
            Sender(make_publisher(settings)),
            leases,
            [inbox.name for inbox in settings.inbox],
            max_in_flight=settings.watcher.max_in_flight,
            lost_after_seconds=settings.limits.task_time_seconds + WORKING_MARGIN_SECONDS,
            wake=self.wake,
        )
        self.inboxes = {
            inbox.name: Inbox(inbox, settings, self._hints, self.publisher.forget) for inbox in settings.inbox
        }
        self._turns = deque(self.inboxes.values())
        self._held: frozenset[str] = frozenset()
        self._report_at = 0.0
        self._is_ready = False
        self.stopping = False

    def say(self, word: str) -> None:
        """Put a word on the loop's queue: "stop", "scan" or "reload". Safe from any thread and from a signal handler."""
        self._words.append(word)
        self.wake()

    @property
    def is_idle(self) -> bool:
        """Whether nothing is left to look at, to publish or in flight."""
        return self.publisher.is_quiet and all(inbox.is_idle for inbox in self.inboxes.values())

    @property
    def has_offered_all(self) -> bool:
        """Whether everything was looked at, and published unless something stands against it."""
        return self.publisher.has_answered and all(inbox.is_idle for inbox in self.inboxes.values())

    def run(self) -> None:
        """Step until told to stop, then stop in order."""
        self.publisher.start()
        try:
            while not (self.stopping or self.publisher.has_failed):
                self.step(time.monotonic(), time.time_ns())
                self._wait()
        finally:
            self.close()

    def close(self) -> None:
        """End all looking and give the inboxes back; what is in flight goes on without us."""
        for inbox in self.inboxes.values():
            inbox.close()
        self._hints.close()
        self.publisher.stop()
        self.wake.close()

    # -- one pass

    def step(self, now: float, now_ns: int) -> None:
        """One pass at monotonic time `now` and wall clock `now_ns`."""
        self._obey()
        self._hear(now)
        self._learn(now)
        for inbox in self._turns:
            inbox.step(now, now_ns, STEP_SECONDS)
        self._offer()
        self._tell(now, now_ns)

    def _obey(self) -> None:
        while self._words:
            word = self._words.popleft()
            if word == "stop":
                self.stopping = True
            else:
                if word == "reload" and self._read:
                    self._reload(self._read)
                for inbox in self.inboxes.values():
                    inbox.want_scan()

    def _reload(self, read: Callable[[], Settings]) -> None:
        """Take over what can change, and name what cannot; wrong settings change nothing."""
        notify_systemd(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
        try:
            change = reloaded(self._settings, read())
        except SettingsError as error:
            log.error("settings.refused", why=error)
        else:
            for old, new in zip(self._settings.inbox, change.settings.inbox, strict=True):
                if change.is_about(old, new):
                    self._look_anew(new, change.settings)
            self._settings = change.settings
            log.info("settings.reloaded", changed=change.taken or "nothing")
            if change.waiting:
                log.warning("settings.need_restart", unchanged=change.waiting)
        notify_systemd("READY=1")

    def _look_anew(self, config: InboxSettings, settings: Settings) -> None:
        """Put a new inbox in the place of one whose settings changed; what is in flight is known to the publisher."""
        old = self.inboxes[config.name]
        old.close()
        new = Inbox(config, settings, self._hints, self.publisher.forget)
        self.inboxes[config.name] = new
        self._turns[self._turns.index(old)] = new

    def _hear(self, now: float) -> None:
        hints, troubles = self._hints.drain()
        for trouble in troubles:
            self.inboxes[trouble.inbox].trouble(trouble, now)
        for hint in hints:
            self.inboxes[hint.inbox].hinted(hint, now)

    def _learn(self, now: float) -> None:
        """Take what became of arrivals; a newly held inbox is scanned, because its predecessor knew more than we do."""
        for answer in self.publisher.answers():
            self._answered(answer, now)
        for name in self.publisher.asked():
            self.inboxes[name].want_scan()
        held = self.publisher.held
        for name in held - self._held:
            self.inboxes[name].take_over(now)
            self._report_at = now
        self._held = held

    def _answered(self, answer: Answer, now: float) -> None:
        inbox = self.inboxes[answer.arrival.inbox]
        if answer.state == "ended":
            inbox.ended(answer.arrival, now)
        elif answer.state == "due":
            inbox.retry(answer.arrival, now)
        else:
            inbox.answered(answer.arrival, now, published=answer.state == "published", cost_seconds=answer.cost_seconds)
        if answer.state in ("paused", "refused"):
            inbox.wait(answer.arrival, max(answer.wait_seconds, REFUSED_WAIT_SECONDS), answer.state, now)

    def _offer(self) -> None:
        """Fill the free slots, one arrival from each inbox that is ours in turn."""
        room = self.publisher.free_slots
        offered: list[Arrival] = []
        empty = 0
        while len(offered) < room and empty < len(self._turns):
            self._turns.rotate(-1)
            inbox = self._turns[0]
            taken = inbox.take(1) if inbox.name in self._held else []
            empty = 0 if taken else empty + 1
            offered += taken
        if offered:
            self.publisher.offer(offered)

    def _tell(self, now: float, now_ns: int) -> None:
        if not self._is_ready and all(inbox.has_begun for inbox in self.inboxes.values()):
            self._is_ready = True
            notify_systemd("READY=1")
            log.info("watcher.ready", inboxes=list(self.inboxes))
        if now < self._report_at:
            return
        self._report_at = now + REPORT_SECONDS
        reports = {name: inbox.report(now, now_ns / 1e9) for name, inbox in self.inboxes.items()}
        trouble = self.publisher.trouble
        notify_systemd(f"WATCHDOG=1\nSTATUS={status_line(reports, self._held, self.publisher.in_flight, trouble)}")
        for name in self._held:  # of the others their own watcher tells
            self.publisher.say(
                name,
                reports[name]
                | {
                    "host": socket.gethostname(),
                    "pid": os.getpid(),
                    "state": "watching",
                    "in_flight": self.publisher.in_flight,
                    "broker": trouble or "ok",
                    "at": now_ns / 1e9,
                },
            )

    def _wait(self) -> None:
        """Sleep until an event, an answer, a signal, or the next thing that is due."""
        now = time.monotonic()
        until = min([now + LONGEST_WAIT_SECONDS, *(inbox.next_at(now) for inbox in self.inboxes.values())])
        with selectors.DefaultSelector() as selector:
            selector.register(self.wake.fileno(), selectors.EVENT_READ)
            for inbox in self.inboxes.values():
                descriptor = inbox.fileno()
                if descriptor is not None:
                    selector.register(descriptor, selectors.EVENT_READ)
            is_woken = selector.select(max(0.0, until - now))
        if is_woken and not self.publisher.free_slots:
            time.sleep(GATHER_WHILE_FULL_SECONDS)
        elif is_woken and time.monotonic() - now < BURST_SECONDS:
            time.sleep(GATHER_SECONDS)
        self.wake.heard()


def raise_open_files_limit() -> None:
    """Use all the open files that the kernel grants: a walk 64 levels deep holds 130, and the usual soft limit is 1024."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def status_line(reports: Mapping[str, dict[str, Any]], held: Container[str], in_flight: int, trouble: str) -> str:
    """What `systemctl status` shows: one line for all inboxes, with whatever stands in the way."""
    waiting = sum(sum(report["waiting"].values()) for report in reports.values())
    lines = [f"{waiting} waiting, {in_flight} in flight"]
    lines += [f"broker: {trouble}"] if trouble else []
    for name, report in reports.items():
        if not report["online"]:
            lines.append(f"{name} is offline: {report['offline_why']}")
        elif name not in held:
            lines.append(f"{name} is not held yet, or by another watcher")
    return printable("; ".join(lines))


def watch(settings: Settings, read: Callable[[], Settings] | None = None) -> int:
    """Run the watcher until SIGTERM or SIGINT; SIGHUP has it read its settings and scan. Returns the exit code."""
    ignore_sigio()
    raise_open_files_limit()
    watcher = Watcher(settings, read)

    def on_signal(number: int, _: FrameType | None) -> None:
        watcher.say("reload" if number == signal.SIGHUP else "stop")

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, on_signal)
    watcher.run()
    notify_systemd("STOPPING=1")
    log.info("watcher.stopped")
    return 1 if watcher.publisher.has_failed else 0  # its supervisor starts it anew
