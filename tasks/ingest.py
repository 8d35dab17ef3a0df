"""One arrival becomes thumbnails: the steps of the worker in their order, and what becomes of each kind of failure.

Wires the edges (inbox, library, quarantine, leases) and decides nothing about pixels or paths itself. Several arrivals may
go these steps together: each is decoded by itself, and then they wait for the disk at once. What a reader would get
wrong: no exception leaves `ingest`, MemoryError included, because one that reaches Celery may end the whole worker; and
nothing counts as done before the manifest stands under its name.
"""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from redis import RedisError

from config.logs import get_logger
from config.settings import InboxSettings, Settings
from tasks.category import choose_category
from tasks.child_limits import one_images_limits
from tasks.errors import (
    IngestError,
    InputError,
    Reason,
    ResourceError,
    SupersededError,
    TransientError,
    TruncatedError,
    from_os_error,
)
from tasks.far_source import Reach
from tasks.header import read_header
from tasks.leases import End, Leases, Record
from tasks.library import Library
from tasks.manifest import Manifest
from tasks.messages import Arrival, UnknownVersionError, from_message
from tasks.pixels import Rendered, render
from tasks.quarantine import Quarantine
from tasks.recipe import recipe_from
from tasks.records import utc
from tasks.source import Source, is_same_mtime
from tasks.together import Steps, Together
from tasks.waits import wait_seconds

log = get_logger(__name__)

# Attempts whose whole worker vanished: deploys and power cuts do that to good files, so there are more of them.
MAX_VANISHED = 10
# How often an arrival that never looks as announced is looked at again before the worker takes what stands there.
MAX_SUPERSEDED = 2
# What is larger is not left waiting with others: it may have to be copied, and they share the time that one may take.
_LARGE_BYTES = 32_000_000
# With these a file is set aside for what happened before, without being decoded again.
_WITHOUT_ANOTHER_ATTEMPT = {Reason.CRASHED_WORKER, Reason.TIMED_OUT, Reason.INTERNAL_ERROR}

Outcome = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Work:
    """One arrival in hand: its lease token, what was remembered of it, its inbox, and when the work began (monotonic)."""

    arrival: Arrival
    token: str
    record: Record
    inbox: InboxSettings
    began_at: float

    @property
    def stays(self) -> bool:
        """Whether the file stays in the inbox for good."""
        return self.inbox.after == "keep"

    @property
    def duration_ms(self) -> int:
        """Milliseconds since the work began."""
        return round((time.monotonic() - self.began_at) * 1000)


class _Group:
    """Work that goes together: its steps, how it ended, and the last of it that was decoded and waits for the disk."""

    def __init__(self, library: Library) -> None:
        self._library = library
        self._opened = ExitStack()
        self._is_open = False
        self.steps = Together(library.sync)
        self.ends: list[tuple[Work, End]] = []
        self.outcomes: list[Outcome] = []
        self.last: Work | None = None
        self.slots: set[str] = set()  # that are about to get their manifest
        self.is_full = False  # nothing else is to be begun before what waits is done

    def share(self) -> None:
        """From now on its steps share what they open in the library."""
        if not self._is_open:
            self._opened.enter_context(self._library.at_work())
        self._is_open = True

    def finish(self) -> None:
        """Do all that waits."""
        self.steps.finish()
        self.close()
        self.last, self.is_full = None, False

    def close(self) -> None:
        """Let go of what still waits, and of what was opened."""
        self.steps.close()
        self._opened.close()
        self._is_open = False


class Ingest:
    """The worker's steps with what they need; made once in each worker child."""

    def __init__(self, settings: Settings, leases: Leases) -> None:
        self._settings = settings
        self._leases = leases
        self._library = Library(settings.library)
        self._quarantine = Quarantine(settings)
        self._recipe = recipe_from(settings.thumbnails)
        self._fingerprint = self._recipe.fingerprint
        self._reach = Reach(settings.library.path, settings.limits.silence_seconds, settings.limits.max_bytes)
        self._group: _Group | None = None

    @contextmanager
    def together(self) -> Iterator["_Group"]:
        """What is ingested inside goes together, and has ended when this ends."""
        group = self._group = _Group(self._library)
        try:
            yield group
            self._finish_group(group)
        finally:
            group.close()
            self._group = None

    def ingest(self, message: dict[str, Any]) -> Outcome:
        """Do one message; the outcome is what the result store keeps: JSON primitives with at least "outcome".

        Inside `together` that is "begun" when the rest is still to be done.
        """
        if self._group is not None:
            return self._join(self._group, message)
        with self.together() as group:
            outcome = self._join(group, message)
        return next(iter(group.outcomes), outcome)

    def _join(self, group: _Group, message: dict[str, Any]) -> Outcome:
        try:
            work = self._begin(message, group.last)
        except UnknownVersionError as error:  # a rolling upgrade: its lease ends, and the watcher publishes it again
            log.warning("message.unknown_version", error=error)
            return {"outcome": "unknown_version"}
        except KeyError as error:
            log.error("message.unknown_inbox", inbox=message.get("inbox"), error=error)
            return {"outcome": "unknown_inbox"}
        except RedisError as error:  # nobody decodes without a lease
            log.warning("leases.unreachable", error=error)
            return {"outcome": "leases_unreachable"}
        if work is None:
            return {"outcome": "held"}
        group.last = work
        group.steps.begin(self._work(group, work))
        if group.is_full:
            self._finish_group(group)
        return {"outcome": "begun"}

    def _work(self, group: _Group, work: Work) -> Steps[None]:
        try:
            outcome = yield from self._steps(group, work)
            self._finish(group, work, outcome)
        except IngestError as why:
            self._end_badly(group, work, why)
        except Exception as error:
            foreseeable = _of_ours(error)
            if foreseeable is not None:
                self._put_off(group, work, foreseeable)
                return
            log.exception("image.failed", **_named(work))
            self._put_off(group, work, _unforeseen(error), failed="internal")

    # -- the steps

    def _begin(self, message: dict[str, Any], last: Work | None) -> Work | None:
        arrival, token = from_message(message)
        inbox = self._settings.inbox_named(arrival.inbox)
        record = self._leases.begin(arrival, token, (last.arrival, last.token) if last else None)
        return None if record is None else Work(arrival, token, record, inbox, time.monotonic())

    def _steps(self, group: _Group, work: Work) -> Steps[Outcome]:
        self._refuse_what_kills(work)
        self._library.check_room()
        with self._reach.open(work.inbox.path, work.arrival.path) as source:
            self._refuse_another(work, source)
            group.is_full = source.is_alone or source.stat.st_size > _LARGE_BYTES
            known = yield from self._known(work, source)
            return known or (yield from self._make(group, work, source))

    def _refuse_what_kills(self, work: Work) -> None:
        """Give up on a file that ended too many attempts, without showing it to a decoder again."""
        record, limits = work.record, self._settings.limits
        if record.ended_children >= limits.max_attempts:
            if record.timed_out > record.crashed:
                raise InputError(
                    Reason.TIMED_OUT,
                    f"took longer than {limits.task_time_seconds:g} s, or {limits.cpu_time_seconds:g} s of processor time, "
                    f"{record.timed_out} times; the last time {record.message}",
                    "raise that limit if such images are wanted, then `thumbdrop quarantine retry`",
                )
            raise InputError(
                Reason.CRASHED_WORKER,
                f"crashed its worker {record.ended_children} times; the last time {record.message}",
                "it may be made to do harm; if it is to be trusted, save it anew as an ordinary JPEG or PNG",
            )
        if record.vanished >= MAX_VANISHED:
            raise InputError(
                Reason.CRASHED_WORKER,
                f"its worker was killed or vanished {record.vanished} times while at it",
                "look for `Out of memory` in the kernel's log; if it was something else, `thumbdrop quarantine retry`",
            )
        if record.internal >= limits.max_attempts:
            raise InputError(Reason.INTERNAL_ERROR, f"failed {record.internal} times: {record.message}")

    def _refuse_another(self, work: Work, source: Source) -> None:
        is_same = source.stat.st_size == work.arrival.size_bytes and is_same_mtime(
            source.stat.st_mtime_ns, work.arrival.mtime_ns
        )
        # Two hosts that never agree on a file must not send it round in circles: the third time it is taken as it is.
        if not is_same and work.record.superseded < MAX_SUPERSEDED:
            raise SupersededError(f"{work.arrival.path} changed after it was announced")

    def _known(self, work: Work, source: Source) -> Steps[Outcome | None]:
        """What is done already: a kept file that was finished before, or the very bytes that this source brought once."""
        if work.stays:
            manifest = self._library.known_manifest(work.arrival)
            if manifest is not None and self._library.is_complete(manifest, self._fingerprint):
                return {"outcome": "duplicate"}
            finding = self._quarantine.reason_for(work.arrival)
            if finding is not None:
                return {"outcome": "quarantined", "reason": finding.reason}
        for slot, manifest in self._library.manifests_of(work.arrival.inbox, work.arrival.path).items():
            sha256 = source.sha256()  # read only for a source that brought something before, and then once
            if manifest.sha256 == sha256 and self._library.is_complete(manifest, self._fingerprint):
                return (yield from self._duplicate(work, source, slot, sha256))
        return None

    def _make(self, group: _Group, work: Work, source: Source) -> Steps[Outcome]:
        limits = self._settings.limits
        if work.inbox.after == "archive":
            source.start_sync()
        with one_images_limits(limits.max_memory_bytes, limits.cpu_time_seconds):
            header = read_header(source.file, source.stat.st_size, limits)
            rendered = render(source.file, header, self._recipe)
        sha256 = source.sha256()
        if not source.is_unchanged():
            raise SupersededError(f"{work.arrival.path} changed while it was read")
        self._refuse_damage(rendered.damage)
        group.share()
        category = choose_category(self._settings.category, rendered.facts, work.arrival)
        slot = self._library.slot_for(work.arrival, category, sha256)
        while slot in group.slots:  # the same content: a duplicate, as soon as the one before is done
            yield ()
        group.slots.add(slot)
        try:
            return (yield from self._publish(work, source, slot, sha256, rendered))
        finally:
            group.slots.discard(slot)

    def _publish(self, work: Work, source: Source, slot: str, sha256: str, rendered: Rendered) -> Steps[Outcome]:
        standing = self._library.manifest(slot)
        if (
            standing is not None
            and standing.sha256 == sha256
            and self._library.is_complete(standing, self._fingerprint)
        ):
            return (yield from self._duplicate(work, source, slot, sha256))
        manifest = Manifest(
            sha256=sha256,
            source=work.arrival,
            image=rendered.facts,
            recipe=self._fingerprint,
            ingested_at=utc(time.time()),
            duration_ms=work.duration_ms,
        )
        archived = source if work.inbox.after == "archive" else None
        whole = yield from self._library.publish(slot, manifest, rendered.renditions, archived)
        found = {"damage": rendered.damage} if rendered.damage else {}
        original = yield from self._take_away(work, source, slot, whole)
        return {"outcome": "done", "slot": slot, "original": original, **found}

    def _refuse_damage(self, damage: str) -> None:
        if damage and self._settings.limits.damaged == "quarantine":
            hint = 'upload a good copy, or set limits.damaged = "accept" and run `thumbdrop quarantine retry`'
            raise InputError(Reason.CORRUPT, f"this jpeg is damaged ({damage}); a part of the picture is wrong", hint)

    def _duplicate(self, work: Work, source: Source, slot: str, sha256: str) -> Steps[Outcome]:
        if not source.is_unchanged():
            raise SupersededError(f"{work.arrival.path} changed while it was read")
        self._library.adopt(slot, work.arrival, sha256)
        return {"outcome": "duplicate", "slot": slot, "original": (yield from self._take_away(work, source, slot))}

    def _take_away(self, work: Work, source: Source, slot: str, manifest: Manifest | None = None) -> Steps[str | None]:
        """The original last, when everything else is durable; None when it stays, or is no longer the file that was read.

        `manifest` is what stands for the slot, if that is known.
        """
        if work.inbox.after == "archive":
            return (yield from self._library.archive(slot, source, manifest))
        if work.inbox.after == "delete":
            source.remove()
        return None

    # -- the ends

    def _finish(self, group: _Group, work: Work, outcome: Outcome) -> None:
        outcome["duration_ms"] = work.duration_ms
        counted = [outcome["outcome"], *(["damaged"] if "damage" in outcome else [])]
        group.ends.append((work, End(work.arrival, work.token, counted, work.stays, outcome)))
        group.outcomes.append(outcome)

    def _finish_group(self, group: _Group) -> None:
        group.finish()
        ends, group.ends = group.ends, []
        if not ends:
            return
        try:
            self._leases.finish([end for _, end in ends])
        except RedisError as error:  # the work is done; the leases end by themselves and the next looks find it so
            log.warning("leases.unreachable", error=error)
        for work, end in ends:
            outcome = end.outcome or {}
            level = log.warning if outcome["outcome"] == "quarantined" else log.info
            level(f"image.{outcome['outcome']}", **_named(work), **_without(outcome, "outcome"))

    def _end_badly(self, group: _Group, work: Work, why: IngestError) -> None:
        if isinstance(why, TruncatedError) and self._grace_left(work) <= 0:
            why = InputError(why.reason, why.message, why.hint)
        if not isinstance(why, InputError):
            self._put_off(group, work, why)
            return
        try:
            self._set_aside(work, why)
        except IngestError as trouble:
            self._put_off(group, work, trouble)
            return
        self._finish(group, work, {"outcome": "quarantined", "reason": str(why.reason), "message": why.message})

    def _grace_left(self, work: Work) -> float:
        """How many seconds longer a cut-off file waits for its client; the whole grace while Redis does not say."""
        record, grace = work.record, self._settings.limits.truncated_grace_seconds
        if record.reason != Reason.TRUNCATED or record.first_at is None:
            return grace
        try:
            return record.first_at + grace - self._leases.now_ms() / 1000
        except RedisError:
            return grace

    def _set_aside(self, work: Work, why: InputError) -> None:
        with self._reach.open(work.inbox.path, work.arrival.path) as source:
            self._refuse_another(work, source)
            if source.has_writer():  # whatever it lacks may still come
                raise TruncatedError(f"{why.message}; a program still has it open for writing", why.hint)
            entry = self._quarantine.put(
                work.arrival,
                source,
                why,
                attempts=work.record.attempts + (why.reason not in _WITHOUT_ANOTHER_ATTEMPT),
                first_seen_at=work.record.first_at,
                keep=work.stays,
            )
        if entry is None:
            raise SupersededError(f"{work.arrival.path} changed before it could be set aside")

    def _put_off(self, group: _Group, work: Work, why: IngestError, *, failed: str = "") -> None:
        if isinstance(why, SupersededError):
            failed = "superseded"
        tries = work.record.tries if work.record.reason == why.reason else 0
        wait = wait_seconds(why, tries, self._settings.watcher.rescan_seconds, self._grace_left(work))
        outcome = {"outcome": "put_off", "reason": str(why.reason), "message": why.message, "wait_seconds": wait}
        try:
            if isinstance(why, ResourceError):
                self._leases.pause(why)
            self._leases.put_off(work.arrival, work.token, why, wait, failed=failed, outcome=outcome)
        except RedisError as error:
            log.warning("leases.unreachable", error=error)
        log.info("image.put_off", **_named(work), reason=str(why.reason), wait_seconds=wait, message=why.message)
        group.outcomes.append(outcome)


def _named(work: Work) -> dict[str, Any]:
    return {"inbox": work.arrival.inbox, "path": work.arrival.path, "arrival_id": work.arrival.id}


def _without(fields: Outcome, key: str) -> Outcome:
    return {name: value for name, value in fields.items() if name != key}


def _of_ours(error: Exception) -> IngestError | None:
    """The trouble of ours that an exception from anywhere stands for: no store, no room, no more open files."""
    if isinstance(error, RedisError):
        return TransientError(f"the lease store went away: {error}")
    if isinstance(error, OSError):
        why = from_os_error(error, "use", str(error.filename or "a file"))
        return why if isinstance(why, ResourceError) else None
    return None


def _unforeseen(error: Exception) -> IngestError:
    return IngestError(Reason.INTERNAL_ERROR, f"{type(error).__name__}: {error}", "the journal has the traceback")
