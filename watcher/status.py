"""`thumbdrop status`: asks every part how it does, within about three seconds even if some of them hang.

Collects, and decides what counts as wrong; watcher/status_text.py words it. What a reader would get wrong: nothing here
may rely on anything else being up, for this is what people call when things are down.
"""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any

from config.addresses import masked
from config.mounts import network_mount_of
from config.settings import InboxSettings, Settings
from config.urls import broker_url, is_embedded, results_url
from tasks.errors import Reason
from tasks.leases import Record
from watcher.asking import Answer, ask_all
from watcher.standing import Standing, count_standing
from watcher.status_questions import StoreFacts, count_quarantined, ping_workers, reach_broker, read_store
from watcher.wording import counted

TOTAL_SECONDS = 3.0
_WALK_SECONDS = 2.0
# What somebody has to do something about; the other reasons (truncated, an I/O error) mend themselves or are quarantined.
_CALL_FOR_HELP = {Reason.PERMISSION, Reason.NO_SPACE, Reason.READ_ONLY, Reason.TOO_MANY_OPEN_FILES}
_MAX_EXAMPLES = 3
BEAT_LATE_SECONDS = 1500.0  # the sweep is due every 600 s; twice missed is late


@dataclass(frozen=True, slots=True)
class Waiting:
    """The arrivals of an inbox that were put off for one reason; `next_try_at` is a Unix time.

    `examples` say what was found about the first few.
    """

    reason: str
    count: int
    next_try_at: float | None
    examples: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class InboxStatus:
    """How one inbox does.

    `state` is "watching", "standby" (another watcher holds it), "offline" or "unwatched". `waiting` counts the files
    that stand there complete or not, done ones left out; None when nobody knows, and at least so many when
    `waiting_has_more`. Times are Unix times.
    """

    name: str
    path: str
    state: str
    watcher: str = ""  # host and pid
    backend: str = ""
    why: str = ""
    offline_why: str = ""
    waiting: int | None = None
    waiting_has_more: bool = False
    oldest_waiting_at: float | None = None
    published: int = 0
    working: int = 0
    put_off: tuple[Waiting, ...] = ()  # the first thousand, those that are tried next
    put_off_total: int = 0
    ignored: dict[str, int] = field(default_factory=dict)
    scan: dict[str, Any] = field(default_factory=dict)
    watches: int | None = None
    missed_events: int = 0
    troubles: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()  # the first few names that nobody may look at


@dataclass(frozen=True, slots=True)
class Status:
    """How the whole installation does; `problems` is empty when all is well."""

    at: float
    broker: str  # address without its password
    broker_error: str
    results: str
    results_error: str
    workers: tuple[str, ...]
    beat: dict[str, float]  # job -> Unix time of its last run
    paused: dict[str, str] | None
    counts: dict[str, int]
    quarantined_now: int | None
    inboxes: tuple[InboxStatus, ...]
    problems: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Everything as JSON primitives."""
        return asdict(self)


def look_at_everything(settings: Settings, seconds: float = TOTAL_SECONDS) -> Status:
    """Ask all parts at once and put their answers together."""
    questions: dict[str, Callable[[], Any]] = {
        "store": lambda: read_store(settings),
        "broker": lambda: reach_broker(settings),
        "workers": lambda: ping_workers(settings),
        "quarantine": lambda: count_quarantined(settings),
    }
    for inbox in settings.inbox:
        questions[f"inbox {inbox.name}"] = partial(count_standing, inbox, _WALK_SECONDS)
    apart = {"quarantine"} if network_mount_of(str(settings.library.path)) else set()
    return put_together(settings, ask_all(questions, seconds, apart), time.time())


def put_together(settings: Settings, answers: dict[str, Answer[Any]], now: float) -> Status:
    """Make a status of the answers; pure."""
    store: Answer[StoreFacts] = answers["store"]
    broker_error = _why_away(settings, broker_url(settings), answers["broker"].error)
    results_error = _why_away(settings, results_url(settings), store.error)
    inboxes = tuple(_inbox_status(i, store.value, answers[f"inbox {i.name}"]) for i in settings.inbox)
    workers = tuple(sorted(answers["workers"].value or ()))
    beat = store.value.beat if store.value else {}
    paused = store.value.paused if store.value else None
    problems = [
        *([f"broker: {broker_error}"] if broker_error else []),
        *([f"result store: {results_error}"] if results_error else []),
        *([f"result store: {store.value.refusal}"] if store.value and store.value.refusal else []),
        *([] if workers else ["no worker answers"]),
        *([] if not beat or now - max(beat.values()) < BEAT_LATE_SECONDS else ["beat: periodic jobs are late"]),
        *([f"paused: {paused['message']}"] if paused else []),
        *(problem for inbox in inboxes for problem in _inbox_problems(inbox)),
    ]
    return Status(
        at=now,
        broker=masked(broker_url(settings)),
        broker_error=broker_error,
        results=masked(results_url(settings)),
        results_error=results_error,
        workers=workers,
        beat=beat,
        paused=paused,
        counts=store.value.counts if store.value else {},
        quarantined_now=answers["quarantine"].value,
        inboxes=inboxes,
        problems=tuple(problems),
    )


def _why_away(settings: Settings, url: str, error: str) -> str:
    if error and is_embedded(settings) and url == broker_url(settings):
        return f"the embedded Redis does not answer; `thumbdrop up` runs it ({error})"
    return error


def _inbox_status(inbox: InboxSettings, store: StoreFacts | None, standing: Answer[Standing]) -> InboxStatus:
    told = InboxStatus(inbox.name, str(inbox.path), state="unwatched")
    flight: list[str] = []
    if store:
        flight = list(store.flights.get(inbox.name, {}).values())
        told = _from_report(told, store.reports.get(inbox.name, {}))
    put_off = store.put_off.get(inbox.name, 0) if store else 0
    seen = standing.value or Standing(offline_why=standing.error)
    if seen.files is not None:
        told = replace(told, waiting=seen.files, waiting_has_more=seen.has_more, oldest_waiting_at=seen.oldest_at)
    elif told.waiting is not None:  # the watcher's table, which those that it has handed on have left
        told = replace(told, waiting=told.waiting + len(flight) + put_off)
    return replace(
        told,
        offline_why=told.offline_why or seen.offline_why,
        published=flight.count("published"),
        working=flight.count("working"),
        put_off=_by_reason(store.records.get(inbox.name, [])) if store else (),
        put_off_total=put_off,
    )


def _from_report(told: InboxStatus, report: dict[str, Any]) -> InboxStatus:
    if not report:
        return told
    is_online = bool(report.get("online", True))
    return replace(
        told,
        state=str(report.get("state", "watching")) if is_online else "offline",
        watcher=f"{report.get('host', '?')} pid {report.get('pid', '?')}",
        backend=str(report.get("backend", "")),
        why=str(report.get("why", "")),
        offline_why="" if is_online else str(report.get("offline_why") or "offline"),
        waiting=sum((report.get("waiting") or {}).values()),
        waiting_has_more=bool(report.get("waiting_has_more")),
        ignored=dict(report.get("ignored") or {}),
        scan=dict(report.get("scan") or {}),
        watches=report.get("watches"),
        missed_events=int(report.get("missed_events") or 0),
        troubles=tuple(map(str, report.get("troubles") or ())),
        unreadable=tuple(map(str, report.get("unreadable") or ())),
    )


def _inbox_problems(inbox: InboxStatus) -> list[str]:
    found = []
    if inbox.state == "unwatched":
        found.append(f"inbox {inbox.name}: nobody watches it")
    if inbox.offline_why:
        found.append(f"inbox {inbox.name}: {inbox.offline_why}")
    found += [f"inbox {inbox.name}: {trouble}" for trouble in inbox.troubles]
    found += [f"inbox {inbox.name}: cannot look at {name}" for name in inbox.unreadable]
    held_up = [group for group in inbox.put_off if group.reason in _CALL_FOR_HELP]
    return found + [f"inbox {inbox.name}: {line}" for group in held_up for line in _held_up(group)]


def _held_up(group: Waiting) -> list[str]:
    more = group.count - len(group.examples)
    return [*group.examples, *([f"{counted(more, 'more file')} held up [{group.reason}]"] if more > 0 else [])]


def _by_reason(records: list[Record]) -> tuple[Waiting, ...]:
    reasons = sorted({record.reason for record in records})
    return tuple(_summary(reason, [r for r in records if r.reason == reason]) for reason in reasons)


def _summary(reason: str, records: list[Record]) -> Waiting:
    times = [record.not_before for record in records if record.not_before is not None]
    examples = dict.fromkeys(record.message for record in records if record.message)
    return Waiting(reason, len(records), min(times, default=None), tuple(examples)[:_MAX_EXAMPLES])
