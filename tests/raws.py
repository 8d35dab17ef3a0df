"""TIFFs built by hand, small: camera RAW files with a preview and the sensor's data behind it, and pictures in planes."""

import struct
import zlib
from collections.abc import Mapping, Sequence

PREVIEW_SIDE = 16
_SHORT, _LONG, _ASCII, _LONG8 = 3, 4, 2, 16
_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _STRIPS, _ROWS, _BYTES = 256, 257, 258, 259, 262, 273, 278, 279
_SUBFILE, _MAKE, _SUBS, _DNG = 254, 271, 330, 0xC612
_COLOUR_FILTER = 32803
_SAMPLES, _PLANES = 277, 284


class _Writer:
    """Directories one after the other, in either byte order, as TIFF or BigTIFF."""

    def __init__(self, order: str, *, big: bool) -> None:
        self._order, self._big = order, big
        magic = {"<": b"II", ">": b"MM"}[order]
        rest = struct.pack(order + "HHHQ", 43, 8, 0, 16) if big else struct.pack(order + "HI", 42, 8)
        self.content = bytearray(magic + rest)

    def directory(self, tags: Mapping[int, int | bytes | Sequence[int]]) -> int:
        """Append one directory and its values; returns its offset."""
        long = "Q" if self._big else "I"
        offset_bytes = 8 if self._big else 4
        start, entries, bodies = len(self.content), b"", b""
        head_bytes = (8 if self._big else 2) + (20 if self._big else 12) * len(tags) + offset_bytes
        for tag in sorted(tags):
            value = tags[tag]
            if isinstance(value, bytes):
                kind, count, body = _ASCII if tag == _MAKE else 1, len(value), value
            else:
                numbers = [value] if isinstance(value, int) else list(value)
                kind, count, body = _LONG, len(numbers), struct.pack(f"{self._order}{len(numbers)}I", *numbers)
            if len(body) > offset_bytes:
                place = struct.pack(self._order + long, start + head_bytes + len(bodies))
                bodies += body + bytes(len(body) % 2)
            else:
                place = body.ljust(offset_bytes, b"\0")
            entries += struct.pack(f"{self._order}HH{long}", tag, kind, count) + place
        count_of = struct.pack(self._order + ("Q" if self._big else "H"), len(tags))
        self.content += count_of + entries + bytes(offset_bytes) + bodies
        return start

    def pixels(self, content: bytes) -> int:
        """Append image data; returns its offset."""
        start = len(self.content)
        self.content += content
        return start


def raw_file(kind: str, order: str = "<", *, big: bool = False) -> bytes:
    """A RAW file of that kind: "nef", "arw", "dng", "pef", "3fr"; and "tiff", an ordinary picture built in the same way."""
    # The first directory's place is fixed, so it is written twice: once to learn how long it is, then with true offsets.
    places = [0, 0, 0]
    for _ in range(2):
        writer = _Writer(order, big=big)
        writer.directory(_first(kind, *places))
        sensor = {
            _SUBFILE: 0,
            _WIDTH: 4000,
            _HEIGHT: 3000,
            _BITS: 14,
            _COMPRESSION: 34713,
            _PHOTOMETRIC: _COLOUR_FILTER,
        }
        places = [
            writer.pixels(bytes(range(256))),
            writer.directory({_SUBFILE: 1, _WIDTH: 160, _HEIGHT: 120, _COMPRESSION: 6}),
            writer.directory(sensor),
        ]
        writer.pixels(bytes(1000))
    return bytes(writer.content)


def _first(kind: str, pixels: int, jpeg: int, sensor: int) -> dict[int, int | bytes | Sequence[int]]:
    preview: dict[int, int | bytes | Sequence[int]] = {
        _SUBFILE: 1,
        _WIDTH: PREVIEW_SIDE,
        _HEIGHT: PREVIEW_SIDE,
        _BITS: 8,
        _COMPRESSION: 1,
        _PHOTOMETRIC: 1,
        _STRIPS: pixels,
        _ROWS: PREVIEW_SIDE,
        _BYTES: PREVIEW_SIDE**2,
    }
    if kind == "tiff":
        return preview | {_SUBFILE: 0, _MAKE: b"NIKON CORPORATION\0", _SUBS: [jpeg]}
    if kind == "pef":  # the sensor's data stands in the first directory itself
        return preview | {_SUBFILE: 0, _COMPRESSION: 65535, _PHOTOMETRIC: _COLOUR_FILTER, _MAKE: b"PENTAX\0"}
    makes = {"nef": b"NIKON CORPORATION\0", "arw": b"SONY\0", "dng": b"Canon\0", "3fr": b"Hasselblad\0"}
    extra: dict[int, int | bytes | Sequence[int]] = {_MAKE: makes[kind], _SUBS: [jpeg, sensor]}
    return preview | extra | ({_DNG: b"\1\4\0\0"} if kind == "dng" else {})


def tiff_in_planes(
    samples: Sequence[int], *, order: str, compression: int, bits: int, photometric: int, side: int = 40
) -> bytes:
    """An ordinary TIFF of one colour whose planes lie one after the other, each in a strip; `samples` are of 8 bits."""
    pixel = [struct.pack(f"{order}H", sample << 8) if bits == 16 else bytes([sample]) for sample in samples]
    planes = [one * side * side if compression == 1 else zlib.compress(one * side * side) for one in pixel]
    places = [0] * len(planes)
    for _ in range(2):  # as in raw_file
        writer = _Writer(order, big=False)
        tags: dict[int, int | bytes | Sequence[int]] = {
            _WIDTH: side,
            _HEIGHT: side,
            _BITS: [bits] * len(planes),
            _COMPRESSION: compression,
            _PHOTOMETRIC: photometric,
            _STRIPS: places,
            _SAMPLES: len(planes),
            _ROWS: side,
            _BYTES: [len(plane) for plane in planes],
            _PLANES: 2,
        }
        writer.directory(tags)
        places = [writer.pixels(plane) for plane in planes]
    return bytes(writer.content)
