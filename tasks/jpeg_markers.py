"""Walk the markers of a JPEG without decoding it: its frame, how many scans it has, whether it reaches its end.

Reads in pieces and never holds the file. It exists because a decoder gives no way to ask: a 30 kB progressive JPEG with
a thousand scans costs seconds (each scan touches every block), and a cut-off file is noticed only after decoding.
Marker codes are those of ITU-T T.81, table B.1.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple

from tasks.errors import InputError, Reason
from tasks.jpeg_tables import DQT, FRAMES, Segment, fitted

# A marker is FF and a code; FF00 is a stuffed data byte, FFD0 to FFD7 restart inside a scan, FFFF is padding.
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_PIECE_BYTES = 256 * 1024
# A guess: real files have tens (a megabyte of ICC profile takes sixteen). Pillow walks them in Python too.
_MAX_SEGMENTS = 20_000
_MAX_PADDING_BYTES = 64 * 1024  # between two segments; Pillow reads it byte by byte, a hundred megabytes take minutes
_SOI, _EOI, _SOS = 0xD8, 0xD9, 0xDA
_STANDALONE = {0x01, _SOI}
_DECODABLE_FRAMES = {0xC0, 0xC1, 0xC2, 0xC9, 0xCA}  # the others are lossless or hierarchical
_PROGRESSIVE_FRAMES = {0xC2, 0xCA}
_SEQUENTIAL_FRAMES = {0xC0, 0xC1, 0xC9}
# What a decoder needs before the first scan: frame, Huffman and arithmetic tables, DQT, DRI, and the two that tell RGB
# from YCbCr, JFIF's APP0 and Adobe's APP14. No lossless frame: simplejpeg 1.9 writes beyond its buffer when it scales one.
_NEEDED = _DECODABLE_FRAMES | {0xC4, 0xCC, DQT, 0xDD, 0xE0, 0xEE}


@dataclass(slots=True)
class JpegStructure:
    """What the markers say. `width` is 0 when there is no frame header; `ended` means the end marker was reached."""

    width: int = 0
    height: int = 0
    bits: int = 8
    components: int = 0
    frame: int = 0
    scans: int = 0
    ended: bool = False
    is_single_scan: bool = False

    @property
    def is_progressive(self) -> bool:
        """Whether the picture gets better from scan to scan."""
        return self.frame in _PROGRESSIVE_FRAMES

    @property
    def has_several_scans(self) -> bool:
        """Whether the decoder must hold every coefficient of the picture until the last scan."""
        return self.scans > 0 and not self.is_single_scan

    @property
    def is_decodable(self) -> bool:
        """Whether libjpeg can decode it: 8 bits, not lossless, not hierarchical."""
        return self.frame in _DECODABLE_FRAMES and self.bits == 8


def walk_jpeg(file: BinaryIO, max_scans: int, *, to_the_end: bool = False) -> JpegStructure:
    """Read markers until the end of the picture, or until more than `max_scans` scans have been counted.

    A picture whose first scan holds all components of a sequential frame has just that scan; the walk stops there
    unless `to_the_end` asks whether it is complete. What follows the end marker (a second picture, a video) is not read.
    Raises InputError (corrupt) when there are more segments, or more padding, than any real file has.
    """
    found = JpegStructure()
    for segments, (marker, at) in enumerate(_markers(file)):
        if segments > _MAX_SEGMENTS:
            raise InputError(Reason.CORRUPT, f"damaged or hostile jpeg: more than {_MAX_SEGMENTS} segments")
        if marker in FRAMES and not found.width:
            _read_frame(file, at, marker, found)
        elif marker == _SOS:
            found.scans += 1
            found.is_single_scan = found.scans == 1 and _is_only_scan(file, at, found)
            if found.scans > max_scans or (found.is_single_scan and not to_the_end):
                break
        elif marker == _EOI:
            found.ended = True
            break
    return found


class BareJpeg(NamedTuple):
    """A JPEG without its metadata; `scan_at` is where its first scan begins."""

    content: bytearray
    scan_at: int


def bare_jpeg(file: BinaryIO, size_bytes: int, divisor: int = 1) -> BareJpeg:
    """The picture of a JPEG, and whatever follows it, without metadata and without stray bytes between its segments.

    Where the frame is sequential, its first scan gets the parameters that it must have (T.81, table B.3); wrong ones,
    as Samsung's cameras write them, mean nothing to any decoder. With a `divisor` (2, 4 or 8) its tables are those for a
    decode at that part of its size.
    """
    segments: list[Segment] = []
    scan_at, scan_components = size_bytes, 0
    for marker, at in _markers(file):
        if marker == _SOS:
            scan_at = at - 2
            scan_components = int.from_bytes(_segment(file, at)[2:3], "big")
            break
        if marker in _NEEDED:
            segments.append((marker, _segment(file, at)))
    if divisor > 1:
        segments = fitted(segments, scan_components, divisor)
    head = b"\xff\xd8" + b"".join(bytes((0xFF, marker)) + content for marker, content in segments)
    content = bytearray(len(head) + size_bytes - scan_at)
    content[: len(head)] = head
    file.seek(scan_at)
    file.readinto(memoryview(content)[len(head) :])  # type: ignore[attr-defined]  # BinaryIO lacks what every one has
    if _SEQUENTIAL_FRAMES.intersection(marker for marker, _ in segments) and len(content) > len(head) + 4:
        parameters_at = len(head) + 5 + 2 * content[len(head) + 4]
        content[parameters_at : parameters_at + 3] = b"\x00\x3f\x00"
    return BareJpeg(content, len(head))


def _segment(file: BinaryIO, at: int) -> bytes:
    file.seek(at)
    length = file.read(2)
    return length + file.read(max(2, int.from_bytes(length, "big")) - 2)


def _markers(file: BinaryIO) -> Iterator[tuple[int, int]]:
    """Yield (code, offset of what follows it), jumping over the segments by their length."""
    at, marker = 0, _SOI
    while True:
        found = _next_marker(file, at)
        if found is None:
            return
        if marker != _SOS and found[1] - at > _MAX_PADDING_BYTES:
            raise InputError(
                Reason.CORRUPT, f"damaged or hostile jpeg: more than {_MAX_PADDING_BYTES} bytes of padding"
            )
        marker, at = found
        yield marker, at
        if marker not in _STANDALONE:
            file.seek(at)
            at += max(2, int.from_bytes(file.read(2), "big"))


def _next_marker(file: BinaryIO, at: int) -> tuple[int, int] | None:
    file.seek(at)
    carried = b""
    wanted = 2  # between segments the marker stands right here; only a scan, or garbage, has to be searched
    while piece := file.read(wanted):
        wanted = _PIECE_BYTES
        piece = carried + piece
        match = _MARKER.search(piece)
        if match:
            return piece[match.start() + 1], at + match.end()
        carried = b"\xff" if piece.endswith(b"\xff") else b""
        at += len(piece) - len(carried)
    return None


def _read_frame(file: BinaryIO, at: int, marker: int, found: JpegStructure) -> None:
    file.seek(at + 2)
    header = file.read(6)
    if len(header) == 6:
        found.frame, found.bits, found.components = marker, header[0], header[5]
        found.height, found.width = int.from_bytes(header[1:3], "big"), int.from_bytes(header[3:5], "big")


def _is_only_scan(file: BinaryIO, at: int, found: JpegStructure) -> bool:
    file.seek(at + 2)
    components = file.read(1)
    return not found.is_progressive and components == bytes([found.components])
