"""Find out what colour space the pixels of a file are in: an ICC profile, embedded or made from the numbers that it names.

Decoders give the embedded profile only. The numbers stand in a chunk of a PNG (PNG 3, 11.3.2.6: it goes before any profile),
and in a box of an AVIF or HEIC (ISO/IEC 23008-12, 6.5.5: it counts where there is no profile).
"""

from collections.abc import Iterator
from typing import BinaryIO

from tasks.cicp import profile_for

_MAX_PARTS = 10_000  # chunks or boxes that are looked at
_MAX_META_BYTES = 4 << 20
_NO_FILE_BYTES = 1 << 48  # a length like this is a lie, and a place that no file can be asked for


def profile_of(embedded: object, file: BinaryIO, kind: str) -> bytes | None:
    """The ICC profile of the pixels in `file`, None for sRGB; `embedded` is the one that the decoder found."""
    found = embedded if isinstance(embedded, bytes) and embedded else None
    if kind == "png":
        return _named(_png_numbers(file)) or found
    if kind in ("avif", "heic") and found is None:
        return _named(_box_numbers(file))
    return found


def _named(numbers: tuple[int, int] | None) -> bytes | None:
    return profile_for(*numbers) if numbers else None


def _png_numbers(file: BinaryIO) -> tuple[int, int] | None:
    at = 8
    for _ in range(_MAX_PARTS):
        file.seek(at)
        head = file.read(12)
        if len(head) < 12 or head[4:8] in (b"IDAT", b"IEND"):
            return None
        if head[4:8] == b"cICP":
            return head[8], head[9]
        at += 12 + int.from_bytes(head[:4], "big")
    return None


def _box_numbers(file: BinaryIO) -> tuple[int, int] | None:
    """The numbers of the primary item, or the first that are there."""
    meta = _meta_box(file)
    parts = dict(_boxes(meta[4:]))
    properties = dict(_boxes(parts.get(b"iprp", b"")))
    offered = list(_boxes(properties.get(b"ipco", b"")))
    wanted = _associated(properties.get(b"ipma", b""), _primary_item(parts.get(b"pitm", b"")))
    ordered = [offered[n - 1] for n in wanted if 0 < n <= len(offered)] + offered
    for name, content in ordered:
        if name == b"colr" and content[:4] == b"nclx" and len(content) >= 8:
            return int.from_bytes(content[4:6], "big"), int.from_bytes(content[6:8], "big")
    return None


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
