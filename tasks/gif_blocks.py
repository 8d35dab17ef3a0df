"""Walk the blocks of a GIF without decoding it: how many frames it has, and whether it reaches its trailer.

Exists because Pillow counts frames by seeking through them, without a limit, and because only the first frame is
decoded: a GIF that was cut off in a later one would otherwise pass as whole. Block layout: GIF89a specification.
"""

from dataclasses import dataclass
from typing import BinaryIO

_PIECE_BYTES = 1 << 20
_EXTENSION, _IMAGE, _TRAILER = 0x21, 0x2C, 0x3B
# Real sub-blocks hold 255 bytes, so this is half a gigabyte; only a file made to waste time has more.
_MAX_SUB_BLOCKS = 2_000_000


@dataclass(slots=True)
class GifStructure:
    """`cut` means that the file ends inside a block, or in zeros instead of one; `ended` that the trailer was reached."""

    frames: int = 0
    cut: bool = False
    ended: bool = False


class _Bytes:
    """Single bytes of a file by offset, read in pieces; -1 past the end."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._start, self._piece = file, 0, b""

    def __getitem__(self, at: int) -> int:
        index = at - self._start
        if not 0 <= index < len(self._piece):
            self._file.seek(at)
            self._start, self._piece, index = at, self._file.read(_PIECE_BYTES), 0
        return self._piece[index] if self._piece else -1


def walk_gif(file: BinaryIO, max_frames: int) -> GifStructure:
    """Read blocks until the trailer, the end of the file, something unknown, or more than `max_frames` frames."""
    found = GifStructure()
    content = _Bytes(file)
    at = 13 + _colour_table_bytes(content[10])
    budget = _MAX_SUB_BLOCKS
    while found.frames <= max_frames and budget > 0:
        introducer = content[at]
        if introducer == _IMAGE:
            found.frames += 1
            at += 11 + _colour_table_bytes(content[at + 9])
        elif introducer == _EXTENSION:
            at += 2
        else:
            found.ended = introducer == _TRAILER
            found.cut = introducer == 0  # no block begins so: reserved by its client, but not yet written
            break
        at, budget = _after_sub_blocks(content, at, budget)
        if at < 0:
            found.cut = True
            break
    return found


def _colour_table_bytes(packed: int) -> int:
    return 3 << ((packed & 7) + 1) if packed >= 0 and packed & 0x80 else 0


def _after_sub_blocks(content: _Bytes, at: int, budget: int) -> tuple[int, int]:
    """The offset after the terminating empty sub-block, -1 when the file ends before it; and what is left of the budget."""
    while (length := content[at]) > 0 and budget > 0:
        at += 1 + length
        budget -= 1
    return (at + 1 if length >= 0 else -1), budget
