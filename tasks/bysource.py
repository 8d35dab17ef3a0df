r"""Which slots a source has had: hidden records by inbox and path, so that a file keeps its slot whatever the rules say.

    manifests/.by-source/<2 hex>/<sha256 of "inbox\0path">.json
    {version, slots: {sha256: slot, ...}, last: {sha256, size_bytes, mtime_ns}}

The oldest slot comes first. A record is a memory, not the truth: whoever uses it looks at the manifest too, and a
lost or damaged one costs only a look at the file's content.
"""

import hashlib
import os
from dataclasses import dataclass, field

from tasks.library_tree import Tree
from tasks.messages import Arrival
from tasks.records import RecordError, from_json, get, get_path, path_fields, to_json
from tasks.slots import MANIFESTS
from tasks.source import is_same_mtime

VERSION = 1
# A camera that uploads "latest.jpg" every minute: older contents find their slots by name and hash anyway.
_MAX_SLOTS = 100


@dataclass(frozen=True, slots=True)
class Memory:
    """What is remembered of one source: its slots by content, newest last, and the content it had last."""

    slots: dict[str, str] = field(default_factory=dict)
    sha256: str = ""
    size_bytes: int = -1
    mtime_ns: int = -1

    def is_of(self, arrival: Arrival) -> bool:
        """Whether the source was last seen as it is now."""
        return self.size_bytes == arrival.size_bytes and is_same_mtime(self.mtime_ns, arrival.mtime_ns)


def memory_path(inbox: str, path: str) -> str:
    """Where the memory of a source is kept."""
    name = hashlib.sha256(os.fsencode(f"{inbox}\0{path}")).hexdigest()
    return f"{MANIFESTS}/.by-source/{name[:2]}/{name}.json"


def recall(tree: Tree, inbox: str, path: str) -> Memory:
    """What is remembered of a source; an empty memory when there is nothing, or nothing readable."""
    try:
        content = tree.read(memory_path(inbox, path))
        return Memory() if content is None else _read(content)
    except (RecordError, IsADirectoryError):
        return Memory()


def remember(tree: Tree, arrival: Arrival, sha256: str, slot: str) -> None:
    """Note that this arrival has this content and this slot; other contents of the same slot are forgotten."""
    content = with_slot(tree, arrival, sha256, slot)
    if content is not None:
        tree.write(memory_path(arrival.inbox, arrival.path), content)


def with_slot(tree: Tree, arrival: Arrival, sha256: str, slot: str) -> bytes | None:
    """The record that `remember` would write; None when the one that stands there says it all."""
    before = recall(tree, arrival.inbox, arrival.path)
    slots = {content: other for content, other in before.slots.items() if content != sha256 and other != slot}
    slots = dict(list(slots.items())[1 - _MAX_SLOTS :]) | {sha256: slot}
    after = Memory(slots, sha256, arrival.size_bytes, arrival.mtime_ns)
    is_known = after == before and list(after.slots) == list(before.slots)
    return None if is_known else _written(after)


def _written(memory: Memory) -> bytes:
    last = {"sha256": memory.sha256, "size_bytes": memory.size_bytes, "mtime_ns": memory.mtime_ns}
    slots: dict[str, object] = {}
    for sha256, slot in memory.slots.items():
        slots |= path_fields(sha256, slot)
    return to_json({"version": VERSION, "slots": slots, "last": last})


def _read(content: bytes) -> Memory:
    record = from_json(content, VERSION)
    slots, last = get(record, "slots", dict), get(record, "last", dict)
    names = {sha256: get_path(slots, sha256) for sha256 in slots if not sha256.endswith("_b64")}
    return Memory(names, get(last, "sha256", str), get(last, "size_bytes", int), get(last, "mtime_ns", int))
