"""The publisher: everything that the watcher says to Redis and to the broker, in a thread of its own.

A broker or a Redis that hangs must not freeze the watcher, so the daemon only hands over arrivals (`offer`) and picks
up what became of them (`answers`); neither ever blocks. `step(now)` is one pass, which the thread repeats. What a
reader would get wrong: a refused publish changes nothing. The lease is taken back and the file stays due.
"""

import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from redis import RedisError

from config.logs import get_logger
from tasks.leases import Leases, Verdict, new_token
from tasks.messages import Arrival
from watcher.flights import Flights
from watcher.sending import BROKER_ERRORS, Sender
from watcher.trouble import Trouble

log = get_logger(__name__)

HOLD_SECONDS = 15.0  # a standby takes over within this after a watcher died; renewed three times as often
POLL_SECONDS = 0.1  # how soon a free slot is noticed, while few are in flight
LONGEST_POLL_SECONDS = 0.3
DUE_SECONDS = 1.0
DEPTH_SECONDS = 5.0
REPORT_SECONDS = 2.0
REPORT_FADES_SECONDS = 15.0
BATCH = 64


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of an arrival.

    `state`: "published", "leased", "waiting", "kept", "paused", "refused" (the broker or Redis is away) or "standby"
    answer an offer; "ended" means that its lease is gone, "due" that its wait has ended: both call for a look.
    `cost_seconds` is what it took to find out that it is not to be published.
    """

    arrival: Arrival
    state: str
    wait_seconds: float = 0.0
    cost_seconds: float = 0.0


@dataclass(slots=True)
class _Timer:
    """Says yes at most once every `seconds`."""

    seconds: float
    next_at: float = 0.0

    def is_due(self, now: float) -> bool:
        if now < self.next_at:
            return False
        self.next_at = now + self.seconds
        return True


class Publisher:
    """Leases and publishes what it is offered, at most `max_in_flight` at a time, for the inboxes that it holds.

    `wake` is called whenever an answer is ready. All public methods may be called from any thread; `step` from one.
    """

    def __init__(
        self,
        sender: Sender,
        leases: Leases,
        inboxes: Sequence[str],
        *,
        max_in_flight: int,
        lost_after_seconds: float,
        wake: Callable[[], None],
    ) -> None:
        self._sender = sender
        self._leases = leases
        self._inboxes = tuple(inboxes)
        self._max_in_flight = max_in_flight
        self._wake = wake
        self._token = secrets.token_hex(8)
        self._held: frozenset[str] = frozenset()
        self._others: frozenset[str] = frozenset()  # the inboxes that another watcher held when last asked
        self._offers: deque[Arrival] = deque()
        self._unsent: deque[tuple[Arrival, str]] = deque()  # leases without a message, to be taken back
        self._bell = threading.Event()
        self._answers: deque[Answer] = deque()
        self._flights = Flights(leases, max_in_flight, lost_after_seconds)
        self._offered = 0  # written by the daemon's thread only, as the next one is by the publisher's
        self._answered = 0
        self._reports: dict[str, dict[str, object]] = {}
        self._blocked = True  # until the first hold
        self._forgotten: deque[Arrival] = deque()
        self._asked: deque[str] = deque()
        self._paused_until = 0.0
        self._broker = Trouble("broker")
        self._store = Trouble("leases")
        self._timers = {
            name: _Timer(seconds)
            for name, seconds in [
                ("hold", HOLD_SECONDS / 3),
                ("poll", POLL_SECONDS),
                ("due", DUE_SECONDS),
                ("depth", DEPTH_SECONDS),
                ("report", REPORT_SECONDS),
            ]
        }
        self.has_failed = False
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    # -- for the daemon

    @property
    def free_slots(self) -> int:
        """How many more arrivals may be offered now."""
        if self._blocked:
            return 0
        return max(0, self._max_in_flight - self.in_flight - (self._offered - self._answered))

    @property
    def in_flight(self) -> int:
        """How many arrivals are published or being worked on."""
        return len(self._flights)

    @property
    def answered(self) -> int:
        """How many offers have been answered so far: it grows while anything moves."""
        return self._answered

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is offered, in flight or waiting to be picked up."""
        return self.has_answered and not self.in_flight

    @property
    def has_answered(self) -> bool:
        """Whether every offer was answered and every answer picked up."""
        return self._offered == self._answered and not self._answers

    @property
    def held(self) -> frozenset[str]:
        """The inboxes that this watcher holds; another watcher holds the others."""
        return self._held

    @property
    def trouble(self) -> str:
        """What broker or Redis last failed with; empty when both answer."""
        return self._broker.text or self._store.text

    def offer(self, arrivals: Sequence[Arrival]) -> None:
        """Hand over arrivals that are complete; each gets exactly one answer to this, and perhaps later ones."""
        self._offered += len(arrivals)
        self._offers.extend(arrivals)
        self._bell.set()

    def forget(self, arrival: Arrival) -> None:
        """Drop the retry record of an arrival that no longer stands in its inbox."""
        self._forgotten.append(arrival)

    def answers(self) -> list[Answer]:
        """Pick up what became of arrivals since the last call."""
        return [self._answers.popleft() for _ in range(len(self._answers))]

    def asked(self) -> list[str]:
        """Pick up the inboxes for which somebody asked for a scan."""
        return [self._asked.popleft() for _ in range(len(self._asked))]

    def say(self, inbox: str, report: dict[str, object]) -> None:
        """Leave a report for `thumbdrop status`; the first one is written at once, the next one within two seconds."""
        if inbox not in self._reports:
            self._timers["report"].next_at = 0.0
        self._reports[inbox] = report

    def start(self) -> None:
        """Run the steps in a thread until `stop`."""
        self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread and give the inboxes back to a standby. Waits five seconds at most."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(5.0)
        try:
            for inbox in self._held:
                self._leases.release(inbox, self._token)
        except RedisError:
            return  # the hold ends by itself

    # -- one pass

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                self.step(time.monotonic())
                self._bell.wait(POLL_SECONDS)
                self._bell.clear()
        except Exception:  # the shell of this thread: without it the watcher would look alive and publish nothing
            log.exception("publisher.failed")
            self.has_failed = True
            self._wake()

    def step(self, now: float) -> None:
        """One pass at monotonic time `now`; never raises for a broker or a Redis that is away.

        Wakes the daemon once for all that it has to answer: once for each would cost more than the answers do.
        """
        self._step(now)
        if self._answers or self._asked:
            self._wake()

    def _step(self, now: float) -> None:
        if now < self._store.until:
            self._refuse_offers()
            return
        try:
            self._forget()
            self._take_back()
            self._keep_holds(now)
            self._publish(now)
            self._follow(now)
            self._find_due(now)
            self._write_reports(now)
            self._store.worked()
        except (RedisError, OSError) as error:
            self._store.failed(error, now)
            self._held = frozenset()
            self._timers["hold"].next_at = 0.0
            self._refuse_offers()
        until = max(self._broker.until, self._store.until, self._paused_until)
        self._blocked = now < until or self._flights.queue_is_full or not self._held

    def _keep_holds(self, now: float) -> None:
        if not self._timers["hold"].is_due(now):
            return
        held = frozenset(i for i in self._inboxes if self._leases.hold(i, self._token, HOLD_SECONDS))
        for inbox in held - self._held:
            log.info("inbox.held", inbox=inbox)
            self._flights.adopt(self._leases.in_flight(inbox))
        for inbox in self._held - held:
            log.warning("inbox.lost_to_another_watcher", inbox=inbox)
        others = frozenset(self._inboxes) - held
        for inbox in others - self._held - self._others:
            log.info("inbox.held_by_another_watcher", inbox=inbox, role="standby")
        self._held, self._others = held, others
        self._wake()

    def _forget(self) -> None:
        while self._forgotten:
            self._leases.forget(self._forgotten[0])
            self._forgotten.popleft()

    def _take_back(self) -> None:
        """Withdraw leases whose message did not go out; what fails now is tried again, or the file would wait for them."""
        while self._unsent:
            self._leases.withdraw(*self._unsent[0])
            self._unsent.popleft()

    def _take_offers(self) -> list[Arrival]:
        return [self._offers.popleft() for _ in range(min(BATCH, len(self._offers)))]

    def _refuse_offers(self) -> None:
        for arrival in self._take_offers():
            self._answer(Answer(arrival, "refused"))

    def _publish(self, now: float) -> None:
        offered = self._take_offers()
        ours = [arrival for arrival in offered if arrival.inbox in self._held]
        for arrival in offered:
            if arrival.inbox not in self._held:
                self._answer(Answer(arrival, "standby"))
        if not ours:
            return
        began_at = time.monotonic()
        verdicts = self._lease(ours)
        cost_seconds = (time.monotonic() - began_at) / len(ours)
        self._send([(verdict.arrival, verdict.token) for verdict in verdicts if verdict.state == "published"], now)
        for verdict in verdicts:
            if verdict.state == "paused":
                self._paused_until = now + verdict.wait_seconds
            if verdict.state != "published":
                self._answer(Answer(verdict.arrival, verdict.state, verdict.wait_seconds, cost_seconds))
        self._take_back()

    def _lease(self, arrivals: list[Arrival]) -> list[Verdict]:
        tokens = [new_token() for _ in arrivals]
        try:
            return self._leases.offer(arrivals, tokens)
        except (RedisError, OSError):  # they may have been given all the same
            self._unsent.extend(zip(arrivals, tokens, strict=True))
            for arrival in arrivals:
                self._answer(Answer(arrival, "refused"))
            raise

    def _send(self, leased: list[tuple[Arrival, str]], now: float) -> None:
        """Publish messages; asks nothing of the lease store, so that no trouble there leaves an offer unanswered."""
        if not leased:
            return
        sent, error = self._sender.send(leased) if now >= self._broker.until else (0, None)
        if error is not None:
            self._broker.failed(error, now)
        elif sent:
            self._broker.worked()
        for arrival, token in leased[:sent]:
            self._flights.add(arrival, token, now)
            log.debug("image.published", inbox=arrival.inbox, path=arrival.path, arrival_id=arrival.id)
            self._answer(Answer(arrival, "published"))
        for arrival, token in leased[sent:]:
            self._unsent.append((arrival, token))
            self._answer(Answer(arrival, "refused"))

    def _answer(self, answer: Answer) -> None:
        if answer.state not in ("ended", "due"):
            self._answered += 1
        self._answers.append(answer)

    def _follow(self, now: float) -> None:
        poll = self._timers["poll"]
        if not poll.is_due(now):
            return
        ended = self._flights.ended(now)
        for arrival in ended:
            self._answer(Answer(arrival, "ended"))
        # At this pace a quarter of what is in flight ends until the next look: in time, and several at once cost less.
        pace_seconds = poll.seconds / max(1, len(ended))
        poll.seconds = min(max(POLL_SECONDS, pace_seconds * self.in_flight / 4), LONGEST_POLL_SECONDS)
        poll.next_at = now + poll.seconds
        if not self._timers["depth"].is_due(now) or not self._flights.need_depth:
            return
        try:
            self._flights.measured(self._sender.depth(), now)
            self._broker.worked()
        except BROKER_ERRORS as error:
            self._flights.measured(None, now)
            self._broker.failed(error, now)

    def _find_due(self, now: float) -> None:
        if not self._timers["due"].is_due(now):
            return
        for inbox in self._held:
            if self._leases.is_scan_asked(inbox):
                self._asked.append(inbox)
            for arrival in self._leases.due(inbox, self.free_slots):
                self._answers.append(Answer(arrival, "due"))

    def _write_reports(self, now: float) -> None:
        if self._timers["report"].is_due(now):
            for inbox in self._held & self._reports.keys():
                self._leases.report(inbox, self._reports[inbox], REPORT_FADES_SECONDS)
