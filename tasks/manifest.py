"""The manifest: the record of one ingested image, and its JSON form, version 1.

Pure; `library.py` writes it, and its rename into place is the one and only commit. All paths are relative to the
library root. The one thing a reader would get wrong: `original` None does not mean that something is missing; in keep
and delete mode there never is one.
"""

import re
from dataclasses import asdict, dataclass
from typing import Any

from tasks.facts import ImageFacts
from tasks.library_names import split_path
from tasks.messages import Arrival
from tasks.records import (
    RecordError,
    from_json,
    get,
    get_optional,
    get_path,
    get_source,
    path_fields,
    source_fields,
    to_json,
)

VERSION = 1
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """One thumbnail: where it stands, the box asked for ("640x640"), what it measures in pixels and weighs in bytes."""

    path: str
    box: str
    width: int
    height: int
    format: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """One ingested image.

    `sha256` is of the original's bytes; `source` the arrival it was made from; `recipe` the fingerprint; `category` and
    `thumbnails` are filled in by the library when it publishes; `ingested_at` is like "2024-05-06T07:08:09Z".
    """

    sha256: str
    source: Arrival
    image: ImageFacts
    recipe: str
    ingested_at: str
    duration_ms: int
    category: str = ""
    original: str | None = None
    thumbnails: tuple[Thumbnail, ...] = ()


def to_bytes(manifest: Manifest) -> bytes:
    """The manifest as it stands in its file."""
    return to_json(
        {
            "version": VERSION,
            "sha256": manifest.sha256,
            "source": source_fields(manifest.source),
            "image": asdict(manifest.image),
            **path_fields("category", manifest.category),
            "recipe": manifest.recipe,
            **path_fields("original", manifest.original),
            "thumbnails": [path_fields("path", one.path) | _measures(one) for one in manifest.thumbnails],
            "ingested_at": manifest.ingested_at,
            "duration_ms": manifest.duration_ms,
        }
    )


def from_bytes(content: bytes) -> Manifest:
    """Read a manifest; RecordError says what is wrong with a damaged one, or that its version is another."""
    record = from_json(content, VERSION)
    sha256 = get(record, "sha256", str)
    if not _SHA256.fullmatch(sha256):
        raise RecordError(f"sha256 is {sha256!r}, not 64 hex digits")
    return Manifest(
        sha256=sha256,
        source=get_source(record),
        image=_image(get(record, "image", dict)),
        recipe=get(record, "recipe", str),
        ingested_at=get(record, "ingested_at", str),
        duration_ms=get(record, "duration_ms", int),
        category=get_path(record, "category"),
        original=None if record.get("original") is None else _below_root(record, "original"),
        thumbnails=tuple(_thumbnail(one) for one in get(record, "thumbnails", list)),
    )


def _measures(one: Thumbnail) -> dict[str, Any]:
    return {key: value for key, value in asdict(one).items() if key != "path"}


def _image(record: dict[str, Any]) -> ImageFacts:
    return ImageFacts(
        format=get(record, "format", str),
        width=get(record, "width", int),
        height=get(record, "height", int),
        orientation=get(record, "orientation", int),
        taken=get_optional(record, "taken", str),
        camera=get_optional(record, "camera", str),
        frames=get(record, "frames", int),
        damaged=bool(get_optional(record, "damaged", bool)),  # the first manifests do not have it
    )


def _thumbnail(record: Any) -> Thumbnail:
    if not isinstance(record, dict):
        raise RecordError(f"a thumbnail is {record!r}, not an object")
    return Thumbnail(
        path=_below_root(record, "path"),
        box=get(record, "box", str),
        width=get(record, "width", int),
        height=get(record, "height", int),
        format=get(record, "format", str),
        size_bytes=get(record, "size_bytes", int),
    )


def _below_root(record: dict[str, Any], key: str) -> str:
    path = get_path(record, key)
    try:
        split_path(path)
    except ValueError as error:
        raise RecordError(f"{key}: {error}") from error
    return path
