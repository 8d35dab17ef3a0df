"""The manifest and the reason file: JSON that scripts may rely on, exact for any name, safe to show on any terminal."""

import base64
import json
from dataclasses import replace
from typing import Any

import pytest

from tasks import reason
from tasks.facts import ImageFacts
from tasks.manifest import Manifest, Thumbnail, from_bytes, to_bytes
from tasks.messages import Arrival
from tasks.records import RecordError, from_utc, utc

SHA = "0123456789abcdef" * 4
MANIFEST = Manifest(
    sha256=SHA,
    source=Arrival("inbox", "beach/IMG_1.JPG", 4_000_000, 1_700_000_000_123_456_789),
    image=ImageFacts("jpeg", 3000, 4000, 6, "2024-05-06T07:08:09", "Apple iPhone 15", 1),
    recipe="fedcba9876543210",
    ingested_at="2024-05-06T07:08:10Z",
    duration_ms=412,
    category="beach",
    original="originals/beach/IMG_1.JPG",
    thumbnails=(Thumbnail("thumbnails/beach/640x640/IMG_1_640x640.jpg", "640x640", 480, 640, "jpeg", 51_234),),
)


def test_a_manifest_reads_back_as_it_was_written() -> None:
    assert from_bytes(to_bytes(MANIFEST)) == MANIFEST
    bare = replace(MANIFEST, original=None, thumbnails=(), image=replace(MANIFEST.image, taken=None, camera=None))
    assert from_bytes(to_bytes(bare)) == bare


def test_the_json_is_version_1_of_the_contract() -> None:
    assert json.loads(to_bytes(MANIFEST)) == {
        "version": 1,
        "sha256": SHA,
        "source": {
            "inbox": "inbox",
            "path": "beach/IMG_1.JPG",
            "size_bytes": 4_000_000,
            "mtime_ns": 1_700_000_000_123_456_789,
        },
        "image": {
            "format": "jpeg",
            "width": 3000,
            "height": 4000,
            "orientation": 6,
            "taken": "2024-05-06T07:08:09",
            "camera": "Apple iPhone 15",
            "frames": 1,
            "damaged": False,
        },
        "category": "beach",
        "recipe": "fedcba9876543210",
        "original": "originals/beach/IMG_1.JPG",
        "thumbnails": [
            {
                "path": "thumbnails/beach/640x640/IMG_1_640x640.jpg",
                "box": "640x640",
                "width": 480,
                "height": 640,
                "format": "jpeg",
                "size_bytes": 51_234,
            }
        ],
        "ingested_at": "2024-05-06T07:08:10Z",
        "duration_ms": 412,
    }


def test_a_damaged_picture_that_was_accepted_says_so_and_an_older_manifest_means_an_undamaged_one() -> None:
    damaged = replace(MANIFEST, image=replace(MANIFEST.image, damaged=True))
    assert from_bytes(to_bytes(damaged)) == damaged
    record = json.loads(to_bytes(MANIFEST))
    del record["image"]["damaged"]
    assert from_bytes(json.dumps(record).encode()) == MANIFEST


def test_a_path_that_is_not_utf8_has_its_bytes_beside_it() -> None:
    path = "r\udce9sum\udce9/\udcff.jpg"
    manifest = replace(
        MANIFEST,
        source=replace(MANIFEST.source, path=path),
        category="r\udce9",
        original=f"originals/{path}",
        thumbnails=(replace(MANIFEST.thumbnails[0], path=f"thumbnails/{path}"),),
    )
    record = json.loads(to_bytes(manifest))
    assert base64.b64decode(record["source"]["path_b64"]) == b"r\xe9sum\xe9/\xff.jpg"
    assert record["source"]["path"] == "r\ufffdsum\ufffd/\ufffd.jpg"
    assert {"category_b64", "original_b64"} <= record.keys()
    assert "path_b64" in record["thumbnails"][0]
    assert from_bytes(to_bytes(manifest)) == manifest


def test_no_name_reaches_a_terminal_raw_when_the_file_is_shown() -> None:
    path = "\x1b]0;owned\x07\n\u202egpj.\x9b31m\udc9b写.jpg"
    content = to_bytes(replace(MANIFEST, source=replace(MANIFEST.source, path=path)))
    assert content.isascii()
    assert b"\x1b" not in content
    assert from_bytes(content).source.path == path


def broken(**changes: Any) -> bytes:
    return json.dumps(json.loads(to_bytes(MANIFEST)) | changes).encode()


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "not JSON"),
        (b"\x00" * 4096, "not JSON"),
        (to_bytes(MANIFEST)[:-20], "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "not a JSON object"),
        (broken(version=2), "version 2, this Thumbdrop knows 1"),
        (broken(sha256="abc"), "sha256 is 'abc'"),
        (broken(source=None), "source is None"),
        (broken(source={"inbox": "inbox", "path": "a", "size_bytes": "1", "mtime_ns": 1}), "size_bytes is '1'"),
        (broken(image={}), "format is None"),
        (broken(duration_ms=True), "duration_ms is True"),
        (broken(original="../../etc/passwd"), "original: not a path below its root"),
        (broken(original_b64="%%"), "original_b64 is not base64"),
        (broken(thumbnails=[3]), "a thumbnail is 3"),
        (broken(thumbnails=[{"path": "/etc/passwd"}]), "path: not a path below its root"),
    ],
)
def test_a_damaged_manifest_is_refused_with_what_is_wrong(content: bytes, complaint: str) -> None:
    with pytest.raises(RecordError, match=complaint.replace("(", "\\(")):
        from_bytes(content)


FINDING = reason.Finding(
    reason="too_many_pixels",
    message="412000000 pixels, limit 250000000",
    hint="raise limits.max_pixels",
    attempts=1,
    sha256=SHA,
    source=Arrival("inbox", "\udcff.jpg", 4_000_000, 1_700_000_000_123_456_789),
    first_seen_at="2024-05-06T07:08:09Z",
    quarantined_at="2024-05-06T07:08:10Z",
)


def test_a_reason_reads_back_as_it_was_written_in_version_1_of_the_contract() -> None:
    assert reason.from_bytes(reason.to_bytes(FINDING)) == FINDING
    keys = "version reason message hint attempts sha256 source first_seen_at quarantined_at"
    assert list(json.loads(reason.to_bytes(FINDING))) == keys.split()


def test_a_message_with_an_undecodable_name_in_it_is_still_valid_unicode() -> None:
    written = reason.to_bytes(replace(FINDING, message="could not read \udcff.jpg"))
    assert json.loads(written)["message"] == "could not read \\udcff.jpg"


@pytest.mark.parametrize("changes", [{"version": 3}, {"attempts": "1"}, {"quarantined_at": "yesterday"}, {"source": 1}])
def test_a_damaged_reason_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(RecordError):
        reason.from_bytes(json.dumps(json.loads(reason.to_bytes(FINDING)) | changes).encode())


def test_times_are_whole_seconds_in_utc() -> None:
    assert utc(1_715_065_689.9) == "2024-05-07T07:08:09Z"
    assert from_utc("2024-05-07T07:08:09Z") == 1_715_065_689.0
