"""Fit a JPEG's quantisation tables to the size that it is decoded at, so that a smaller decode is nearly as good as a full one.

libjpeg decodes at a half or a quarter by averaging squares of pixels (jidctred.c). That dims what the smaller picture can just
show, and lets through half of what is too fine for it, as patterns that are not there. The values of a block are frequencies,
and its table says what each of them counts: the too fine ones are made to count nothing, the others as much more as
averaging takes from them. It costs nothing and gains 1 to 4 dB; more is lost in rounding to whole numbers.
"""

from collections.abc import Iterator
from functools import cache, lru_cache
from math import pi, sin

Segment = tuple[int, bytes]  # its marker's code, and what follows that: two bytes of length, then the content

DQT = 0xDB
FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # DHT, JPG and DAC lie in the same range (T.81, table B.1)
_BLOCK = 8
_FRAME_HEAD = 8  # length, bits, height, width, number of components; then three bytes for each: name, sampling, table
_MOST_COMPONENTS = 3
# The order in which a table lists the (row, column) of its block (T.81, figure 5): along the diagonals, there and back.
_ZIGZAG = sorted(
    ((row, column) for row in range(_BLOCK) for column in range(_BLOCK)),
    key=lambda at: (sum(at), at[0] if sum(at) % 2 else at[1]),
)


def fitted(segments: list[Segment], scan_components: int, divisor: int) -> list[Segment]:
    """What stands before the first scan, of that many components, with tables for a decode at 1/`divisor`.

    Each component gets a table of its own. Returned as it is where that cannot be: there are more than three components,
    or something is amiss, or later scans have components of their own, which may come with other tables.
    """
    tables = {number: table for marker, body in segments if marker == DQT for number, table in _tables(body)}
    frames = [body for marker, body in segments if marker in FRAMES]
    components = _components(frames[0]) if len(frames) == 1 else []
    if not components or len(components) != scan_components or not all(table in tables for _, _, table in components):
        return segments
    frame = bytearray(frames[0])
    frame[_FRAME_HEAD + 2 :: 3] = bytes(range(len(components)))
    others = [(marker, bytes(frame) if marker in FRAMES else body) for marker, body in segments if marker != DQT]
    sides = _block_sides(components, divisor)
    made = [_weighted(tables[table], side) for (_, _, table), side in zip(components, sides, strict=True)]
    # Two bytes a value, because the raised ones may need them; 64 values and a byte before them.
    return [*others, *((DQT, b"\x00\x83" + bytes([0x10 + number]) + table) for number, table in enumerate(made))]


def _components(frame: bytes) -> list[tuple[int, int, int]]:
    """Horizontal and vertical sampling and table of each component; nothing where they make no sense."""
    count = frame[_FRAME_HEAD - 1] if len(frame) >= _FRAME_HEAD else 0
    found = [(frame[at + 1] >> 4, frame[at + 1] & 15, frame[at + 2]) for at in range(_FRAME_HEAD, len(frame) - 2, 3)]
    is_sound = 0 < count <= _MOST_COMPONENTS and len(frame) == _FRAME_HEAD + 3 * count
    return found if is_sound and all(across and down for across, down, _ in found) else []


def _tables(body: bytes) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Yield (number, its 64 values) of the tables in a DQT segment (T.81, B.2.4.1); a last one that is cut off is left out."""
    at = 2
    while at < len(body):
        width = 2 if body[at] >> 4 else 1
        values = body[at + 1 : at + 1 + _BLOCK * _BLOCK * width]
        if len(values) == _BLOCK * _BLOCK * width:
            numbers = (int.from_bytes(values[n : n + width], "big") for n in range(0, len(values), width))
            yield body[at] & 15, tuple(numbers)
        at += 1 + len(values)


def _block_sides(components: list[tuple[int, int, int]], divisor: int) -> list[int]:
    """How many pixels wide and high the block of each component becomes, as jdmaster.c finds it.

    Where colour has half as many samples it need not be made smaller.
    """
    least = _BLOCK // divisor
    most_across, most_down = (max(component[way] for component in components) for way in (0, 1))
    sides = []
    for across, down, _ in components:
        side = least
        while side < _BLOCK and not (
            most_across * least % (across * side * 2) or most_down * least % (down * side * 2)
        ):
            side *= 2
        sides.append(side)
    return sides


@lru_cache(maxsize=32)  # a folder of photos has a few
def _weighted(table: tuple[int, ...], side: int) -> bytes:
    """A table of 16-bit values for blocks that become `side` pixels wide and high."""
    weights = _weights(side)
    values = (value * weights[row] * weights[column] for value, (row, column) in zip(table, _ZIGZAG, strict=True))
    return b"".join(min(0xFFFF, round(value)).to_bytes(2, "big") for value in values)


@cache
def _weights(side: int) -> list[float]:
    """What the frequencies of a row or column have to count for the mean of each `8 / side` pixels to be right."""
    together = _BLOCK // side
    angles = [pi * frequency / (2 * _BLOCK) for frequency in range(1, side)]
    return [1.0, *(together * sin(angle) / sin(together * angle) for angle in angles), *[0.0] * (_BLOCK - side)]
