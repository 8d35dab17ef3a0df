"""What is said between the watcher and the workers: arrivals, and the message that carries one.

Plain data and nothing else: this module is the front door of `tasks` for the watcher, so it may import neither
Pillow nor Celery nor Redis. The one thing a reader would get wrong: `path` is relative to the inbox and is a `str`
with surrogate escapes (`os.fsdecode`), because names need not be UTF-8; it survives JSON, but not `.encode()`.
"""

import json
import uuid
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

TASK_INGEST = "thumbdrop.ingest"
MESSAGE_VERSION = 1

_ARRIVALS = uuid.UUID("7d1d9d5e-0f3b-5c0e-9a53-6f6d6e6b1f27")


class UnknownVersionError(ValueError):
    """A message of a version that this worker does not know (a rolling upgrade): it is put off, not refused."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """One complete file as it stands in an inbox; a changed file is a new arrival.

    `path` is relative to the inbox root, with `/` between its parts; `size_bytes` and `mtime_ns` are as lstat(2) says.
    """

    inbox: str
    path: str
    size_bytes: int
    mtime_ns: int

    @property
    def id(self) -> str:
        """The arrival id, also the Celery task id: made of the facts alone, so that anyone can look a file up."""
        return _id_of(self.inbox, self.path, self.size_bytes, self.mtime_ns)


@lru_cache(maxsize=256)  # asked for a dozen times on an arrival's way
def _id_of(inbox: str, path: str, size_bytes: int, mtime_ns: int) -> str:
    return str(uuid.uuid5(_ARRIVALS, json.dumps([inbox, path, size_bytes, mtime_ns])))


def to_message(arrival: Arrival, token: str) -> dict[str, Any]:
    """The keyword arguments of the ingest task: JSON primitives, relative path, the published lease's token."""
    return {
        "version": MESSAGE_VERSION,
        "inbox": arrival.inbox,
        "path": arrival.path,
        "size_bytes": arrival.size_bytes,
        "mtime_ns": arrival.mtime_ns,
        "token": token,
    }


def from_message(message: dict[str, Any]) -> tuple[Arrival, str]:
    """The arrival and the lease token of a message.

    Raises UnknownVersionError for another version, KeyError or TypeError for a message that is not ours.
    """
    if message["version"] != MESSAGE_VERSION:
        raise UnknownVersionError(f"message version {message['version']!r}, this worker knows {MESSAGE_VERSION}")
    arrival = Arrival(
        inbox=str(message["inbox"]),
        path=str(message["path"]),
        size_bytes=int(message["size_bytes"]),
        mtime_ns=int(message["mtime_ns"]),
    )
    return arrival, str(message["token"])
