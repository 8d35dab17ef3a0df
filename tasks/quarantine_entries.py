"""What stands in quarantine: the names that an arrival's file may get there, and the entries read back from them.

The one thing a reader would get wrong: names here are hostile and may be taken, so what an entry is about stands in its
reason, not in its name.
"""

import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass

from config.logs import get_logger
from tasks.durable import exists, read_file
from tasks.library_names import NAME_MAX_BYTES, join_name, marked_name, split_name, split_path
from tasks.messages import Arrival
from tasks.reason import Finding, from_bytes
from tasks.records import RecordError
from tasks.source import is_same_mtime
from tasks.walk import Visited

log = get_logger(__name__)

QUARANTINE = "quarantine"
REASON_SUFFIX = ".reason.json"
_NAME_MAX_BYTES = NAME_MAX_BYTES - len(REASON_SUFFIX)


@dataclass(frozen=True, slots=True)
class Entry:
    """One file in quarantine: where (relative to the library), what was found, and whether the file itself is here."""

    path: str
    finding: Finding
    has_file: bool


def places_for(arrival: Arrival) -> Iterator[str]:
    """Where an arrival's file may be put, best first; the last ones are not below folders that may be files."""
    *folders, own_name = split_path(arrival.path)
    base = f"{QUARANTINE}/{arrival.inbox}"
    folder = "/".join([base, *folders])
    name = join_name(*split_name(own_name), _NAME_MAX_BYTES)
    if not name.endswith(REASON_SUFFIX):  # nobody shall upload a reason
        yield f"{folder}/{name}"
    yield f"{folder}/{marked_name(name, arrival.id[:8], _NAME_MAX_BYTES)}"
    for _ in range(8):
        yield f"{folder}/{marked_name(name, secrets.token_hex(4), _NAME_MAX_BYTES)}"
    for _ in range(8):
        yield f"{base}/{marked_name(name, secrets.token_hex(4), _NAME_MAX_BYTES)}"


def entries_in(here: Visited, prefix: str = "") -> Iterator[Entry]:
    """The entries in one directory of the walk whose names begin with `prefix`."""
    with os.scandir(here.fd) as names:
        for one in names:
            name = one.name.removesuffix(REASON_SUFFIX)
            if name == one.name or name.startswith(".") or not name.startswith(prefix):
                continue
            finding = read_finding(here.fd, name)
            if finding is not None:
                yield Entry("/".join([QUARANTINE, *here.parts, name]), finding, exists(here.fd, name))


def read_finding(dir_fd: int, name: str) -> Finding | None:
    """The reason beside a name; None when there is none, or (with a line in the log) one that cannot be read."""
    try:
        return from_bytes(read_file(dir_fd, name + REASON_SUFFIX))
    except FileNotFoundError:
        return None
    except (RecordError, OSError) as error:  # one of them must not hide all others
        log.warning("quarantine.reason_unreadable", name=name, error=str(error))
        return None


def source_of(arrival: Arrival) -> tuple[str, str]:
    """(inbox, path): what stays the same when a file changes."""
    return arrival.inbox, arrival.path


def is_about(finding: Finding, arrival: Arrival) -> bool:
    """Whether a finding is about this very file: same source, size and mtime."""
    source = finding.source
    return (
        source_of(source) == source_of(arrival)
        and source.size_bytes == arrival.size_bytes
        and is_same_mtime(source.mtime_ns, arrival.mtime_ns)
    )
