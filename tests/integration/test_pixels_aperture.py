"""The part of an AVIF's or HEIC's pixels that is to be shown: the property "clap" of the picture (ISO/IEC 14496-12, 12.1.4)."""

import io
import random
import struct
from collections.abc import Iterator
from typing import Any

import pytest
from PIL import Image

import images
from rendering import picture_of, rendered, size
from tasks.item_properties import clean_aperture

WHOLE = (96, 64)
ALL = (96, 1, 64, 1, 0, 1, 0, 1)


def _boxes(content: bytearray, at: int, end: int) -> Iterator[tuple[bytes, tuple[int, int]]]:
    """Yield (type, (offset, length)) of the boxes between two offsets."""
    while at < end:
        length = int.from_bytes(content[at : at + 4], "big")
        yield bytes(content[at + 4 : at + 8]), (at, length)
        at += length


def cropped(kind: str, numbers: tuple[int, ...], **options: Any) -> bytes:
    """A picture with four corners, 96 x 64 pixels, and that aperture as its last property."""
    content = bytearray(images.image_bytes(kind, *WHOLE, **options))
    outer = dict(_boxes(content, 0, len(content)))
    inner = dict(_boxes(content, outer[b"meta"][0] + 12, sum(outer[b"meta"])))
    properties = dict(_boxes(content, inner[b"iprp"][0] + 8, sum(inner[b"iprp"])))
    ipco, ipma = properties[b"ipco"], properties[b"ipma"]
    number = len(list(_boxes(content, ipco[0] + 8, sum(ipco)))) + 1
    _move_place(content, inner[b"iloc"], outer[b"mdat"], 41)
    for at, grown in ((ipco[0], 40), (ipma[0], 1), (inner[b"iprp"][0], 41), (outer[b"meta"][0], 41)):
        content[at : at + 4] = (int.from_bytes(content[at : at + 4], "big") + grown).to_bytes(4, "big")
    entries = ipma[0] + 12
    assert content[entries - 4 : entries + 4] == bytes(4) + b"\0\0\0\1", "one picture, its properties in the short form"
    content[entries + 6] += 1
    content[entries + 7 : entries + 7] = bytes([0x80 | number])
    content[sum(ipco) : sum(ipco)] = struct.pack(">I4s8i", 40, b"clap", *numbers)
    return bytes(content)


def _move_place(content: bytearray, iloc: tuple[int, int], mdat: tuple[int, int], by: int) -> None:
    """Let the place of the first item, an offset of four bytes, follow its bytes."""
    for at in range(iloc[0] + 16, sum(iloc) - 3):
        place = int.from_bytes(content[at : at + 4], "big")
        if mdat[0] + 8 <= place < sum(mdat):
            content[at : at + 4] = (place + by).to_bytes(4, "big")
            return
    raise AssertionError("no place was found")


@pytest.mark.parametrize("kind", ["avif", "heic"])
def test_only_the_clean_aperture_is_shown(kind: str) -> None:
    content = cropped(kind, (48, 1, 32, 1, -24, 1, -16, 1))
    made = rendered(content, size(64, 64, kind="png"))
    assert (made.facts.width, made.facts.height) == (48, 32)
    with Image.open(io.BytesIO(images.image_bytes(kind, *WHOLE))) as picture:
        expected = picture.convert("RGB").crop((0, 0, 48, 32))
    shown = picture_of(content, size(64, 64, kind="png")).convert("RGB")
    assert shown.size == (48, 32)
    assert all(
        abs(a - b) <= 6
        for at in ((5, 5), (40, 25))
        for a, b in zip(shown.getpixel(at), expected.getpixel(at), strict=True)  # type: ignore[arg-type]
    )


def test_an_aperture_is_cut_before_the_picture_is_turned() -> None:
    content = cropped("avif", (48, 1, 32, 1, -24, 1, -16, 1), exif=images.exif(orientation=6))
    made = rendered(content, size(64, 64))
    assert (made.facts.width, made.facts.height) == (32, 48)


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        (ALL, (0, 0, 96, 64)),
        ((48, 1, 32, 1, 0, 1, 0, 1), (24, 16, 72, 48)),
        ((96, 2, 64, 2, -24, 1, 32, 2), (0, 32, 48, 64)),
        ((95, 1, 63, 1, 0, 1, 0, 1), (0, 1, 95, 64)),
        ((96, 0, 64, 1, 0, 1, 0, 1), None),
        ((97, 1, 64, 1, 0, 1, 0, 1), None),
        ((48, 1, 32, 1, 25, 1, 0, 1), None),
        ((0, 1, 64, 1, 0, 1, 0, 1), None),
        ((-48, 1, 64, 1, 0, 1, 0, 1), None),
    ],
)
def test_an_aperture_that_makes_no_sense_is_none(numbers: tuple[int, ...], expected: object) -> None:
    assert clean_aperture(io.BytesIO(cropped("avif", numbers)), *WHOLE) == expected


def test_lies_about_an_aperture_never_raise() -> None:
    content, chance = cropped("avif", ALL), random.Random(4)
    for _ in range(500):
        lie = bytearray(content[: chance.choice((60, 300, len(content)))])
        for _ in range(chance.randrange(1, 9)):
            at = chance.randrange(min(len(lie), 400))
            lie[at : at + 8] = chance.choice((bytes(8), b"\xff" * 8, chance.randbytes(1)))
        found = clean_aperture(io.BytesIO(bytes(lie)), *WHOLE)
        assert found is None or (0 <= found[0] < found[2] <= 96 and 0 <= found[1] < found[3] <= 64)
