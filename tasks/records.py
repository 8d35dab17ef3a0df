"""JSON records (manifest, reason, claim) as text that is safe everywhere: reading with complaints, paths, times.

Pure. Records are plain ASCII, everything else escaped: a hostile name shown with `cat` reaches no terminal raw. A path
that is not UTF-8 has its bytes in base64 beside it under `<key>_b64`, and `<key>` is then for human eyes only.
"""

import base64
import binascii
import json
import os
from datetime import UTC, datetime
from typing import Any, TypeVar

from tasks.messages import Arrival

Value = TypeVar("Value")


class RecordError(ValueError):
    """A record that is damaged or not ours; the text says which key and why."""


def to_json(record: dict[str, Any]) -> bytes:
    """The record as it stands in its file."""
    return json.dumps(record, indent=2).encode("ascii") + b"\n"


def from_json(content: bytes, version: int | None = None) -> dict[str, Any]:
    """The record in a file's content, of that version if one is given; RecordError when it is not."""
    try:
        record = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise RecordError(f"not JSON: {error}") from error
    if not isinstance(record, dict):
        raise RecordError("not a JSON object")
    if version is not None and record.get("version") != version:
        raise RecordError(f"version {record.get('version')!r}, this Thumbdrop knows {version}")
    return record


def get(record: dict[str, Any], key: str, kind: type[Value]) -> Value:
    """The value under the key, which must be of that kind; RecordError otherwise."""
    value = record.get(key)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise RecordError(f"{key} is {value!r}, not {kind.__name__}")
    return value


def get_optional(record: dict[str, Any], key: str, kind: type[Value]) -> Value | None:
    """Like `get`, and None for null or a missing key."""
    return None if record.get(key) is None else get(record, key, kind)


def path_fields(key: str, path: str | None) -> dict[str, Any]:
    """`{key: path}`, with the exact bytes under `<key>_b64` when the path is not UTF-8."""
    try:
        if path is not None:
            path.encode()
    except UnicodeEncodeError:
        raw = os.fsencode(path or "")
        return {key: raw.decode("utf-8", "replace"), f"{key}_b64": base64.b64encode(raw).decode()}
    return {key: path}


def get_path(record: dict[str, Any], key: str) -> str:
    """The exact path that `path_fields` wrote, with surrogate escapes where it is not UTF-8."""
    encoded = get_optional(record, f"{key}_b64", str)
    if encoded is None:
        return get(record, key, str)
    try:
        return os.fsdecode(base64.b64decode(encoded, validate=True))
    except binascii.Error as error:
        raise RecordError(f"{key}_b64 is not base64: {error}") from error


def source_fields(source: Arrival) -> dict[str, Any]:
    """The `source` object of manifests and reasons."""
    facts = {"size_bytes": source.size_bytes, "mtime_ns": source.mtime_ns}
    return {"inbox": source.inbox, **path_fields("path", source.path), **facts}


def get_source(record: dict[str, Any]) -> Arrival:
    """The arrival in the `source` object; RecordError when something is missing."""
    source = get(record, "source", dict)
    sizes = get(source, "size_bytes", int), get(source, "mtime_ns", int)
    return Arrival(get(source, "inbox", str), get_path(source, "path"), *sizes)


def printable(text: str) -> str:
    r"""Text that is valid Unicode: surrogate escapes (parts of names) become their \x codes."""
    return text.encode("utf-8", "backslashreplace").decode()


def utc(seconds: float) -> str:
    """Seconds since 1970 as "2024-05-06T07:08:09Z"."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def from_utc(text: str) -> float:
    """Seconds since 1970 of a time that `utc` wrote; RecordError for other text."""
    try:
        return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp()
    except ValueError as error:
        raise RecordError(f"not a time like 2024-05-06T07:08:09Z: {text!r}") from error
