"""Decides whether a file that was looked at is complete, and if not, how long to wait before the next look.

Pure: facts of a look come in, a verdict goes out; time comes in as numbers. DESIGN.md "Is it complete?" gives the reasons.
What a reader would get wrong: local files are judged by their ctime (no client can set it), so one look is enough; network
ones by two equal looks on the monotonic clock, because their ctime comes from another machine or from a cache.
"""

from dataclasses import dataclass
from typing import Literal

from watcher.sighting import Sighting, Writer

# What the last event said. "renamed": created while a temporary name beside it vanished, which is how an SFTP rename (link and
# unlink) looks. "attributes": chmod, utime and the like, which say nothing about whether writing goes on.
Event = Literal["moved_in", "closed", "renamed", "touched", "attributes"]
WhyWait = Literal["settling", "writer", "unknown_writer", "empty", "second_look", "clock"]

UNKNOWN_WRITER_SECONDS = 15.0  # of quiet, where nobody can tell whether the file is still open; a guess
OPEN_WRITER_SECONDS = 5.0  # until the next look at a file that is open; its close event usually comes first

_Signature = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Rules:
    """How long one inbox's files settle; `network`: the file lies on a network file system (see `mounts.Layout`)."""

    settle_seconds: float
    empty_grace_seconds: float
    network: bool = False


@dataclass(frozen=True, slots=True)
class Trace:
    """What is remembered of a file between two looks: unchanged since when (monotonic), and what its last event said."""

    signature: _Signature
    since: float
    event: Event | None


@dataclass(frozen=True, slots=True)
class Complete:
    """The file may be published."""


@dataclass(frozen=True, slots=True)
class AskWriter:
    """All else says complete: look once more together with the writer test (`tree.Look` with `test_writers`), and judge that."""


@dataclass(frozen=True, slots=True)
class WaitSeconds:
    """Not complete; nothing can make it so sooner than in `seconds`, except an event."""

    seconds: float
    why: WhyWait


def trace(before: Trace | None, sighting: Sighting, event: Event | None, monotonic: float) -> Trace:
    """Carry what is known of a file to its next look; `event` is the last one since the look before, None for a scan.

    An event's word ends when the content changes after it: a close says nothing about a later append.
    """
    signature = (sighting.inode, sighting.size_bytes, sighting.mtime_ns, sighting.ctime_ns)
    if before is None:
        return Trace(signature, monotonic, event)
    since = before.since if before.signature == signature else monotonic
    earlier = before.event if before.signature[:3] == signature[:3] else "touched"
    return Trace(signature, since, later_event(earlier, event))


def later_event(earlier: Event | None, event: Event | None) -> Event | None:
    """Choose what counts of two events: the later one, unless it says nothing about writing."""
    return earlier if earlier and event in (None, "attributes") else event


def judge(
    sighting: Sighting, known: Trace, rules: Rules, *, now_ns: int, monotonic: float, writer: Writer | None = None
) -> Complete | AskWriter | WaitSeconds:
    """Tell whether a file is complete. `known` is its trace including this very look; `now_ns` the wall clock.

    `writer` is None when it was not asked yet; on a network file system it does not count, because a lease there says nothing
    about other machines. An empty file is complete after its grace: the worker then sets it aside as `empty`.
    """
    if rules.network:
        return _judge_by_two_looks(sighting, rules, monotonic - known.since)
    age = (now_ns - sighting.ctime_ns) / 1e9
    why: WhyWait = "settling"
    if age < 0:  # the clock was set back: only what we saw ourselves counts
        age, why = monotonic - known.since, "clock"
    if sighting.size_bytes == 0 and age < rules.empty_grace_seconds:
        return WaitSeconds(rules.empty_grace_seconds - age, "empty")
    if known.event != "moved_in" and age < rules.settle_seconds:
        return WaitSeconds(rules.settle_seconds - age, why)
    return _judge_by_writer(writer, known.event, age)


def _judge_by_writer(writer: Writer | None, event: Event | None, age: float) -> Complete | AskWriter | WaitSeconds:
    if writer is None:
        return AskWriter()
    if writer == "open":
        return WaitSeconds(OPEN_WRITER_SECONDS, "writer")
    is_told = event in ("moved_in", "closed", "renamed")
    if writer == "unknown" and not is_told and age < UNKNOWN_WRITER_SECONDS:
        return WaitSeconds(UNKNOWN_WRITER_SECONDS - age, "unknown_writer")
    return Complete()


def _judge_by_two_looks(sighting: Sighting, rules: Rules, unchanged: float) -> Complete | WaitSeconds:
    if sighting.size_bytes == 0 and unchanged < rules.empty_grace_seconds:
        return WaitSeconds(rules.empty_grace_seconds - unchanged, "empty")
    if unchanged < rules.settle_seconds:
        return WaitSeconds(rules.settle_seconds - unchanged, "second_look")
    return Complete()
