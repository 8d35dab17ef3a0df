"""The properties of the picture in an AVIF or HEIC, read without a decoder (ISO/IEC 23008-12, ISO/IEC 14496-12).

Pillow's AVIF decoder tells neither of the numbers of a colour space nor of the part of the pixels that is to be shown.
"""

from collections.abc import Iterator
from fractions import Fraction
from math import floor
from typing import BinaryIO

_MAX_PARTS = 10_000  # boxes that are looked at
_MAX_META_BYTES = 4 << 20
_NO_FILE_BYTES = 1 << 48  # a length like this is a lie, and a place that no file can be asked for
Crop = tuple[int, int, int, int]


def colour_numbers(file: BinaryIO) -> tuple[int, int] | None:
    """Primaries and transfer by ITU-T H.273, of the primary item or the first that are there; None when none are."""
    own, offered = _properties(file)
    for name, content in own + offered:
        if name == b"colr" and content[:4] == b"nclx" and len(content) >= 8:
            return int.from_bytes(content[4:6], "big"), int.from_bytes(content[6:8], "big")
    return None


def clean_aperture(file: BinaryIO, width: int, height: int) -> Crop | None:
    """The part of the picture, `width` x `height` pixels before it is turned, that is to be shown: left, upper, right, lower.

    None for all of it, and where what stands there makes no sense (ISO/IEC 14496-12, 12.1.4: sizes, and how far the middle
    is off the picture's, as fractions).
    """
    for name, content in _properties(file)[0]:
        if name == b"clap" and len(content) >= 32:
            # Halves of pixels, which nobody should ask for, go where libheif lets them go: left and down.
            across = _kept(width, content[0:8], content[16:24], Fraction(0))
            down = _kept(height, content[8:16], content[24:32], Fraction(1, 2))
            return (across[0], down[0], across[1], down[1]) if across and down else None
    return None


def _kept(length: int, kept: bytes, offset: bytes, added: Fraction) -> tuple[int, int] | None:
    """Where the kept part of a side begins and ends; `added` before it is rounded down."""
    whole, off = _fraction(kept), _fraction(offset)
    if whole is None or off is None:
        return None
    first = floor((length - whole) / 2 + off + added)
    last = first + floor(whole)
    return (first, last) if 0 <= first < last <= length else None


def _fraction(content: bytes) -> Fraction | None:
    over, under = int.from_bytes(content[:4], "big", signed=True), int.from_bytes(content[4:], "big")
    return Fraction(over, under) if under else None


def _properties(file: BinaryIO) -> tuple[list[tuple[bytes, bytes]], list[tuple[bytes, bytes]]]:
    """(name, content) of the properties of the primary item, and of all that are there."""
    meta = _meta_box(file)
    parts = dict(_boxes(meta[4:]))
    properties = dict(_boxes(parts.get(b"iprp", b"")))
    offered = list(_boxes(properties.get(b"ipco", b"")))
    wanted = _associated(properties.get(b"ipma", b""), _primary_item(parts.get(b"pitm", b"")))
    return [offered[n - 1] for n in wanted if 0 < n <= len(offered)], offered


def _meta_box(file: BinaryIO) -> bytes:
    at = 0
    for _ in range(_MAX_PARTS):
        file.seek(at)
        head = file.read(16)
        length = int.from_bytes(head[:4], "big")
        if length == 1:
            length = int.from_bytes(head[8:], "big")
        if head[4:8] == b"meta":
            file.seek(at + 8)
            return file.read(min(max(length - 8, 0), _MAX_META_BYTES))
        if length < 8 or length >= _NO_FILE_BYTES:
            return b""
        at += length
    return b""


def _boxes(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield (type, content) of boxes one after the other (ISO/IEC 14496-12, 4.2)."""
    at = 0
    while at + 8 <= len(content):
        length = int.from_bytes(content[at : at + 4], "big")
        if length < 8:
            return
        yield content[at + 4 : at + 8], content[at + 8 : at + length]
        at += length


def _primary_item(content: bytes) -> int:
    return int.from_bytes(content[4:8] if content[:1] == b"\1" else content[4:6], "big")


def _associated(content: bytes, item: int) -> list[int]:
    """The numbers, from 1, of an item's properties (ISO/IEC 23008-12, 9.3.1)."""
    id_bytes, wide = 4 if content[:1] > b"\0" else 2, bool(content[3:4] and content[3] & 1)
    at, width = 8, 2 if wide else 1
    for _ in range(min(int.from_bytes(content[4:8], "big"), _MAX_PARTS)):
        found = int.from_bytes(content[at : at + id_bytes], "big")
        count = int.from_bytes(content[at + id_bytes : at + id_bytes + 1], "big")
        at += id_bytes + 1
        if found == item:
            each = (int.from_bytes(content[n : n + width], "big") for n in range(at, at + count * width, width))
            return [number & (0x7FFF if wide else 0x7F) for number in each]
        at += count * width
    return []
