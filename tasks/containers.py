"""Tell cheaply whether a file reaches the end that its own container announces.

Nothing is decoded. An upload that was cut off has to wait for its client, not go to quarantine, so the question is asked
twice: before decoding, where bytes that were announced are missing or are zeros, reserved but not yet written (the
picture shown may be whole and the file still not, and JPEG, WebP and HEIC decode zeros without complaint), and after a
decoder failed, where a missing end marker is a sign too. One that decodes and only lacks its end marker is accepted:
such files are common.
"""

from collections.abc import Iterator
from enum import Enum
from typing import BinaryIO

from tasks.gif_blocks import walk_gif
from tasks.jpeg_markers import walk_jpeg
from tasks.png_chunks import walk_png
from tasks.tiff_tags import tiff_is_cut

# So many zeros at the end were reserved and never written: HEVC does not even hold three in a row, no AVIF was seen to end in
# one. A WebP stores what looks the same down to the lower edge in thousands of them; there they have to begin where a client's
# writes begin, at a page, which of good ones one in two thousand does by chance.
_UNWRITTEN_BYTES = 64
_PAGE_BYTES = 4096
_PIECE_BYTES = 1 << 20


class Ending(Enum):
    """How a file ends."""

    WHOLE = "whole"  # or the container does not tell
    NO_END_MARK = "no end mark"  # ends between two parts, without the mark that should come last
    CUT = "cut"  # ends inside a part


def ending_of(file: BinaryIO, kind: str, size_bytes: int) -> Ending:
    """How a file of that format ends, for the formats where walking its parts costs next to nothing."""
    if kind == "jpeg":
        return _jpeg_ending(file, size_bytes)
    if kind == "png":
        return _png_ending(file, size_bytes)
    if kind == "webp":
        return _webp_ending(file, size_bytes)
    if kind in ("avif", "heic"):
        return _box_ending(file, size_bytes)
    return Ending.WHOLE


def looks_truncated(file: BinaryIO, kind: str, size_bytes: int) -> bool:
    """Whether a file that could not be decoded looks cut off rather than damaged; may read the whole of it."""
    if kind == "jpeg":
        return not _has_end_mark(file)
    if kind == "gif":
        return not walk_gif(file, max_frames=100_000).ended
    if kind == "tiff":
        return tiff_is_cut(file, size_bytes)
    if kind == "bmp":
        file.seek(2)  # often wrong, which is why it is asked only now
        return int.from_bytes(file.read(4), "little") > size_bytes
    return ending_of(file, kind, size_bytes) is not Ending.WHOLE


def _jpeg_ending(file: BinaryIO, size_bytes: int) -> Ending:
    # Zeros decode to a grey rest of the picture. Where they come after its end mark they are padding.
    is_unwritten = _ends_in_zeros(file, size_bytes) and not _has_end_mark(file)
    return Ending.CUT if is_unwritten else Ending.WHOLE


def _has_end_mark(file: BinaryIO) -> bool:
    return walk_jpeg(file, max_scans=1000, to_the_end=True).ended


def _png_ending(file: BinaryIO, size_bytes: int) -> Ending:
    found = walk_png(file, size_bytes)
    return Ending.CUT if found.cut else Ending.WHOLE if found.ended else Ending.NO_END_MARK


def _webp_ending(file: BinaryIO, size_bytes: int) -> Ending:
    file.seek(4)
    end = int.from_bytes(file.read(4), "little") + 8
    # One byte of grace: some writers count the padding of the last chunk and leave it out.
    if end > size_bytes + 1:
        return Ending.CUT
    zeros = _zeros_before(file, end)
    begin_at_a_page = (zeros - end) % _PAGE_BYTES <= 1  # the last byte before them may be zero too
    return Ending.CUT if zeros >= _UNWRITTEN_BYTES and begin_at_a_page else Ending.WHOLE


def _box_ending(file: BinaryIO, size_bytes: int) -> Ending:
    """ISO/IEC 14496-12, 4.2: boxes one after the other; the coded picture is in mdat, usually the last."""
    boxes = list(_boxes(file, size_bytes))
    names = [name for name, _ in boxes]
    if any(end > size_bytes or (name == b"mdat" and _ends_in_zeros(file, end)) for name, end in boxes):
        return Ending.CUT
    return Ending.WHOLE if b"mdat" in names or b"meta" not in names else Ending.NO_END_MARK


def _ends_in_zeros(file: BinaryIO, end: int) -> bool:
    """Whether only zeros stand before that offset, as far as it matters."""
    file.seek(max(0, end - _UNWRITTEN_BYTES))
    return file.read(min(end, _UNWRITTEN_BYTES)) == bytes(_UNWRITTEN_BYTES)


def _zeros_before(file: BinaryIO, end: int) -> int:
    """How many zero bytes stand before that offset."""
    at, length = end, _UNWRITTEN_BYTES
    while at > 0:
        piece_at = max(0, at - length)
        file.seek(piece_at)
        written = file.read(at - piece_at).rstrip(b"\0")
        if written:
            return end - piece_at - len(written)
        at, length = piece_at, min(64 * length, _PIECE_BYTES)
    return end


def _boxes(file: BinaryIO, size_bytes: int) -> Iterator[tuple[bytes, int]]:
    """Yield (type, offset after it) of the outermost boxes; stops at what cannot be a box."""
    at = 0
    for _ in range(10_000):
        if at >= size_bytes:
            return
        file.seek(at)
        head = file.read(16)
        length = int.from_bytes(head[:4], "big")
        if length == 1 and len(head) == 16:
            length = int.from_bytes(head[8:], "big")
        if length == 0:  # to the end of the file
            length = size_bytes - at
        if length < 8:
            return
        at += length
        yield head[4:8], at
