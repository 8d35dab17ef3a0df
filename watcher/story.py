"""`thumbdrop why`: what became of one file, told from the facts. Pure; watcher/story_search.py finds them.

What a reader would get wrong: the order of the questions below is the order in which the watcher and the worker ask
them, and what stands in the inbox now comes before what happened to an earlier file of the same name.
"""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from watcher.story_facts import Done, Facts, Quarantined
from watcher.wording import counted, roughly

State = Literal[
    "outside", "offline", "blocked", "not_a_file", "ignored", "in_flight", "done", "quarantined", "retrying", "paused",
    "settling", "due", "unwatched", "unknown",
]  # fmt: skip

_WHY_IGNORED = {
    "hidden": "its name, or that of a directory above it, begins with a dot",
    "temporary": "its name is one that upload clients give to files they are still writing",
    "ignored": "a glob in the inbox's `ignore`, or a built-in one, matches it",
    "suffix": "its suffix is not among the inbox's `suffixes`",
    "too_deep": "it lies more than 64 directories below the inbox",
}
_WHY_SETTLING = {
    "settling": "it changed a moment ago; it is taken once nothing has touched it for the settle time",
    "writer": "a program still has it open for writing",
    "unknown_writer": "nobody can tell whether a program still writes it, so it is given some quiet first",
    "empty": "it is empty; it is given time to fill",
    "second_look": "it lies on a network file system, where two equal looks are needed",
    "clock": "its time stamp lies in the future, so it is given the whole settle time from now",
}
_NOT_A_FILE = {
    "link": "it is a symbolic link; links are never followed, because they may lead out of the inbox",
    "directory": "it is a directory; ask about a file in it",
    "special": "it is a FIFO, socket or device, which are left alone",
}


@dataclass(frozen=True, slots=True)
class Story:
    """The state in one word, and the same in lines for people; `details` are JSON primitives."""

    path: str
    state: State
    lines: tuple[str, ...]
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def is_fine(self) -> bool:
        """Whether nobody has to do anything about it."""
        return self.state in {"done", "in_flight", "settling", "due", "retrying", "ignored", "not_a_file"}

    def as_json(self) -> dict[str, Any]:
        """Make the story JSON primitives."""
        return {"path": self.path, "state": self.state, "story": list(self.lines), **self.details}


@dataclass(frozen=True, slots=True)
class _Told:
    state: State
    lines: list[str]
    details: dict[str, Any] = field(default_factory=dict)
    about: Done | Quarantined | None = None  # which of the things that happened it tells of


def tell(facts: Facts) -> Story:
    """Decide which state the file is in and tell its story, the present first."""
    told = _of_what_left(facts) if facts.kind == "missing" else _of_what_stands(facts)
    details = dict(told.details)
    arrival_id = facts.arrival_id or (told.about.arrival_id if told.about else "")
    if arrival_id:
        details["arrival_id"] = arrival_id
    named = [f"arrival id {arrival_id}"] if arrival_id else []
    lines = [*told.lines, *named, *_doubt(facts, told.state), *_earlier(facts, told.about)]
    if facts.last_outcome:
        details["last_outcome"] = facts.last_outcome
    return Story(facts.path, told.state, tuple(lines), details)


def _of_what_stands(facts: Facts) -> _Told:
    if not facts.inbox:
        return _outside()
    if facts.kind in _NOT_A_FILE:
        return _Told("not_a_file", [f"left alone: {_NOT_A_FILE[facts.kind]}"], {"kind": facts.kind})
    if facts.ignored_why:
        why = _WHY_IGNORED.get(facts.ignored_why, facts.ignored_why)
        return _Told("ignored", [f"left alone: {why}"], {"ignored_why": facts.ignored_why})
    return _at_work(facts) or _finished(facts) or _waiting(facts)


def _of_what_left(facts: Facts) -> _Told:
    if facts.disk_error:
        return _Told("offline", [f"it cannot be looked at: {facts.disk_error}"], {"offline_why": facts.disk_error})
    if not facts.inbox:
        return _outside()
    return _at_work(facts) or _newest(facts) or _not_seen(facts)


def _not_seen(facts: Facts) -> _Told:
    if facts.offline_why:
        return _offline(facts)
    if facts.blocked_why:
        text = f"it cannot be looked at: {facts.blocked_why}; this command may lack rights that the watcher has"
        return _Told("blocked", [text], {"blocked_why": facts.blocked_why})
    return _unknown(facts)


def _unknown(facts: Facts) -> _Told:
    return _Told(
        "unknown",
        [
            f"nothing stands there, and nothing of that name is known to have come through the inbox {facts.inbox}",
            "check the spelling and whether the upload arrived at all; what was quarantined long ago has expired",
        ],
    )


def _outside() -> _Told:
    return _Told(
        "outside", ["it is in no inbox and nothing that the library knows; `thumbdrop status` lists the inboxes"]
    )


def _offline(facts: Facts) -> _Told:
    text = f"its inbox {facts.inbox} is offline: {facts.offline_why}; work goes on by itself when it is back"
    return _Told("offline", [text], {"offline_why": facts.offline_why})


def _at_work(facts: Facts) -> _Told | None:
    if not facts.lease:
        return None
    since = roughly(facts.lease_age_seconds)
    if facts.lease == "working":
        text = f"a worker has been at it for {since}"
    else:
        text = f"published {since} ago; the next free worker takes it"
    return _Told("in_flight", [text], {"lease": facts.lease, "lease_age_seconds": facts.lease_age_seconds})


def _finished(facts: Facts) -> _Told | None:
    for one in facts.quarantined:
        if one.is_this_very_file:
            return _quarantined(one)
    for image in facts.done:
        if image.is_this_very_file and facts.is_kept:
            return _done(image)
    if facts.is_kept:
        return _Told("done", ["done; it stays where it is"])
    return None


def _newest(facts: Facts) -> _Told | None:
    done, set_aside = facts.done[:1], facts.quarantined[:1]
    if done and (not set_aside or done[0].ingested_at >= set_aside[0].at):
        return _done(done[0])
    return _quarantined(set_aside[0]) if set_aside else None


def _done(image: Done) -> _Told:
    lines = [f"done at {image.ingested_at}, from {image.source} of the inbox {image.inbox}"]
    lines += [f"thumbnail {path}" for path in image.thumbnails]
    lines.append(
        f"original {image.original}" if image.original else "no original in the library: it was kept or deleted"
    )
    lines.append(f"manifest {image.manifest}")
    return _Told("done", lines, _as_details(image), image)


def _quarantined(one: Quarantined) -> _Told:
    lines = [f"quarantined at {one.at}: {one.message} [{one.reason}]"]
    lines += _hint(one.hint)
    lines.append(f"it stands at {one.file}" if one.file else "it stays in the inbox")
    lines.append(f"reason file {one.reason_file}")
    return _Told("quarantined", lines, _as_details(one), one)


def _as_details(about: Done | Quarantined) -> dict[str, Any]:
    return {key: value for key, value in asdict(about).items() if key not in ("is_this_very_file", "arrival_id")}


def _waiting(facts: Facts) -> _Told:
    if facts.offline_why:
        return _offline(facts)
    if facts.not_before is not None and facts.not_before > facts.now:
        return _retrying(facts, facts.not_before)
    if facts.settle_why:
        why = _WHY_SETTLING.get(facts.settle_why, facts.settle_why)
        details = {"settle_why": facts.settle_why, "settle_seconds": facts.settle_seconds}
        return _Told("settling", [f"not taken yet: {why} (about {roughly(facts.settle_seconds)} more)"], details)
    return _held_up(facts) or _due(facts)


def _held_up(facts: Facts) -> _Told | None:
    """Why a complete file is not published, when it is not about the file."""
    if facts.store_refusal:
        text = f"nothing can be published: the result store answers, but {facts.store_refusal}"
        return _Told("paused", [text], {"store_refusal": facts.store_refusal})
    if facts.paused:
        text = f"all work is paused: {facts.paused.get('message', '')} [{facts.paused.get('reason', '')}]"
        return _Told("paused", [text, *_hint(facts.paused.get("hint", ""))], {"paused": facts.paused})
    return None


def _due(facts: Facts) -> _Told:
    if not facts.has_watcher:
        return _Told("unwatched", ["complete, but nobody watches its inbox: start `thumbdrop up` or `thumbdrop watch`"])
    text = "the watcher publishes it as soon as it comes to it"
    if not facts.reason:
        return _Told("due", [f"complete; {text}"])
    return _Told("due", [f"its wait has ended; {text}", *_tries(facts)], _retry_details(facts))


def _retrying(facts: Facts, not_before: float) -> _Told:
    text = f"tried again in {roughly(not_before - facts.now)}: {facts.message} [{facts.reason}]"
    return _Told("retrying", [text, *_tries(facts)], _retry_details(facts))


def _tries(facts: Facts) -> list[str]:
    lines = []
    if facts.first_at is not None:
        lines.append(f"put off {counted(facts.tries, 'time')}, first {roughly(facts.now - facts.first_at)} ago")
    if facts.attempts:
        lines.append(f"{counted(facts.attempts, 'attempt')} came to no end")
    if facts.gives_up_at is not None:
        left = roughly(max(0.0, facts.gives_up_at - facts.now))
        lines.append(f"its client may go on with it for {left} more (truncated_grace); then it is quarantined")
    return lines


def _retry_details(facts: Facts) -> dict[str, Any]:
    names = ("reason", "message", "not_before", "tries", "attempts", "first_at", "gives_up_at")
    return {name: getattr(facts, name) for name in names if name != "gives_up_at" or facts.gives_up_at is not None}


def _hint(text: str) -> list[str]:
    return [f"to do: {text}"] if text else []


def _doubt(facts: Facts, state: State) -> list[str]:
    if not facts.store_error or state in {"outside", "not_a_file", "ignored"}:
        return []
    return [f"the result store does not answer ({facts.store_error}), so leases and retries are unknown"]


def _earlier(facts: Facts, told_of: Done | Quarantined | None) -> list[str]:
    done = [image for image in facts.done if image is not told_of]
    set_aside = [one for one in facts.quarantined if one is not told_of]
    return [
        *(f"another file of that name was done at {image.ingested_at}, manifest {image.manifest}" for image in done),
        *(f"another file of that name was quarantined at {one.at} [{one.reason}]" for one in set_aside),
    ]
