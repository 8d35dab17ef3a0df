"""What can be asked about an inbox's directory tree, and what is answered; and both as lines of JSON for another process.

Plain data. What a reader would get wrong: names need not be UTF-8, so a path may hold lone surrogates; JSON in ASCII keeps
them as escapes, which is why nothing here is encoded in UTF-8.
"""

import json
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from watcher.mounts import Offline, Online, RootIdentity
from watcher.sighting import Sighting, Unseen, Writer
from watcher.walk import Progress


@dataclass(frozen=True, slots=True)
class Look:
    """Look at files (relative paths). `test_writers`: open each and ask for a writer; never for network file systems."""

    paths: tuple[str, ...]
    test_writers: bool = False


@dataclass(frozen=True, slots=True)
class BeginWalk:
    """Begin a walk, in place of the one of the same name; the answer is a `Pulled` without sightings.

    Several walks of different names may be under way: a whole scan, and one below a directory that just appeared.
    """

    walk: str
    below: str = ""


@dataclass(frozen=True, slots=True)
class Pull:
    """Pull a walk forward: at most `limit` sightings, for at most `seconds`. A walk that has finished is forgotten."""

    walk: str
    limit: int
    seconds: float


@dataclass(frozen=True, slots=True)
class CheckRoot:
    """Look whether the root is still what it was; see `mounts.check_root`. The answer is `Online` or `Offline`."""

    expected: RootIdentity | None
    require_mount: bool


@dataclass(frozen=True, slots=True)
class Seen:
    """One file of a `Look`; `writer` is None when it was not asked for."""

    path: str
    sighting: Sighting | Unseen
    writer: Writer | None


@dataclass(frozen=True, slots=True)
class Looked:
    """The answer to a `Look`, in the order of its paths."""

    seen: tuple[Seen, ...]


@dataclass(frozen=True, slots=True)
class Pulled:
    """The answer to a `Pull` or a `BeginWalk`."""

    walk: str
    sightings: tuple[Sighting, ...]
    progress: Progress


@dataclass(frozen=True, slots=True)
class Failed:
    """No answer is to be had: the root cannot be read, the walk is unknown (any more), the looking process died or hangs.

    All walks may be lost; begin them anew. `hung`: the deadline passed, so the file system probably does not answer.
    """

    why: str
    hung: bool = False


Request = Look | BeginWalk | Pull | CheckRoot
Reply = Looked | Pulled | Online | Offline | Failed

_KINDS: dict[str, Any] = {
    kind.__name__: kind
    for kind in (
        *(Look, BeginWalk, Pull, CheckRoot, Looked, Pulled, Failed),
        *(Seen, Sighting, Progress, RootIdentity, Online, Offline),
    )
}


def to_line(message: Any) -> bytes:
    """Write a request or a reply as one line of ASCII."""
    return json.dumps(message, default=_tagged, separators=(",", ":")).encode("ascii") + b"\n"


def from_line(line: bytes) -> Any:
    """Read what `to_line` wrote."""
    return json.loads(line, object_hook=_untagged)


def _tagged(value: Any) -> Any:
    if not is_dataclass(value):
        raise TypeError(f"{value!r} is no part of a message")
    return {"kind": type(value).__name__, "fields": [getattr(value, field.name) for field in fields(value)]}


def _untagged(read: dict[str, Any]) -> Any:
    return _KINDS[read["kind"]](*map(_frozen, read["fields"])) if "kind" in read else read


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list) else value
