"""Read the directories of a TIFF without a TIFF library, to tell camera RAW from pictures and cut-off files from whole ones.

Most RAW formats are TIFF files whose first directory describes a small preview; a TIFF decoder gives that preview as if it
were the picture. Tag numbers are those of TIFF 6.0, TIFF/EP (ISO 12234-2) and the DNG specification. Every loop is
bounded, because every number in the file may be a lie.
"""

from dataclasses import dataclass
from typing import BinaryIO, Literal

_MAX_ENTRIES = 1000  # of one directory; real ones have less than a hundred
_MAX_VALUES = 100_000  # of one entry: strips or tiles
_MAX_SUB_DIRECTORIES = 8

_SUBFILE_TYPE, _COMPRESSION, _PHOTOMETRIC, _MAKE = 254, 259, 262, 271
_STRIP_OFFSETS, _STRIP_BYTES, _TILE_OFFSETS, _TILE_BYTES = 273, 279, 324, 325
_SUB_DIRECTORIES, _DNG_VERSION = 330, 0xC612
_WANTED = {
    _SUBFILE_TYPE, _COMPRESSION, _PHOTOMETRIC, _MAKE, _SUB_DIRECTORIES, _DNG_VERSION,
    _STRIP_OFFSETS, _STRIP_BYTES, _TILE_OFFSETS, _TILE_BYTES,
}  # fmt: skip
_COLOUR_FILTER_ARRAY, _LINEAR_RAW = 32803, 34892
_RAW_COMPRESSIONS = {32767, 32770, 34713, 65000, 65535}  # Sony ARW, Samsung SRW, Nikon NEF, Kodak DCR, Pentax PEF
_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 7: 1, 13: 4, 16: 8, 18: 8}

Directory = dict[int, list[int]]


@dataclass(frozen=True, slots=True)
class _Layout:
    """The widths of one flavour, classic TIFF or BigTIFF, and the size of the file: no offset past it is followed."""

    order: Literal["little", "big"]
    count_bytes: int
    entry_bytes: int
    offset_bytes: int
    size_bytes: int


def raw_flavour(file: BinaryIO, size_bytes: int) -> str | None:
    """Name the kind of camera RAW that a TIFF file is, or None for a picture."""
    layout = _layout(file, size_bytes)
    directory = _read_directory(file, layout, _first_offset(file, layout))
    if _DNG_VERSION in directory:
        return "DNG"
    inner = [_read_directory(file, layout, at) for at in directory.get(_SUB_DIRECTORIES, [])[:_MAX_SUB_DIRECTORIES]]
    if any(_is_sensor(found) for found in [directory, *inner]):
        return "TIFF-based"
    is_preview = directory.get(_SUBFILE_TYPE, [0])[0] & 1
    return "TIFF-based" if is_preview and inner and _MAKE in directory else None


def tiff_is_cut(file: BinaryIO, size_bytes: int) -> bool:
    """Whether the first directory, or a strip or tile that it names, lies past the end of the file."""
    layout = _layout(file, size_bytes)
    start = _first_offset(file, layout)
    if start + layout.count_bytes > size_bytes:
        return True
    directory = _read_directory(file, layout, start)
    for offsets, lengths in ((_STRIP_OFFSETS, _STRIP_BYTES), (_TILE_OFFSETS, _TILE_BYTES)):
        ends = map(sum, zip(directory.get(offsets, []), directory.get(lengths, []), strict=False))
        if any(end > size_bytes for end in ends):
            return True
    return False


def _is_sensor(directory: Directory) -> bool:
    """Whether a directory describes what a sensor saw, which nobody can look at yet."""
    photometric = directory.get(_PHOTOMETRIC, [-1])[0]
    compression = directory.get(_COMPRESSION, [-1])[0]
    return photometric in (_COLOUR_FILTER_ARRAY, _LINEAR_RAW) or compression in _RAW_COMPRESSIONS


def _layout(file: BinaryIO, size_bytes: int) -> _Layout:
    file.seek(0)
    magic = file.read(4)
    order: Literal["little", "big"] = "little" if magic[:2] == b"II" else "big"
    return _Layout(order, 8, 20, 8, size_bytes) if 43 in magic[2:] else _Layout(order, 2, 12, 4, size_bytes)


def _number(content: bytes, layout: _Layout) -> int:
    return int.from_bytes(content, layout.order)


def _first_offset(file: BinaryIO, layout: _Layout) -> int:
    file.seek(8 if layout.offset_bytes == 8 else 4)
    return _number(file.read(layout.offset_bytes), layout)


def _read_directory(file: BinaryIO, layout: _Layout, at: int) -> Directory:
    """The wanted tags of the directory at that offset; what cannot be read is left out."""
    if at >= layout.size_bytes:
        return {}
    file.seek(at)
    count = min(_number(file.read(layout.count_bytes), layout), _MAX_ENTRIES)
    entries = file.read(count * layout.entry_bytes)
    found: Directory = {}
    for start in range(0, len(entries) - layout.entry_bytes + 1, layout.entry_bytes):
        entry = entries[start : start + layout.entry_bytes]
        tag = _number(entry[:2], layout)
        if tag in _WANTED:
            found[tag] = _values(file, layout, entry)
    return {tag: values for tag, values in found.items() if values}


def _values(file: BinaryIO, layout: _Layout, entry: bytes) -> list[int]:
    """The numbers of one entry: inside it when they fit, else where it points to (TIFF 6.0, page 15)."""
    width = _TYPE_BYTES.get(_number(entry[2:4], layout), 0)
    count = min(_number(entry[4 : 4 + layout.offset_bytes], layout), _MAX_VALUES)
    field = entry[4 + layout.offset_bytes :]
    length = width * count
    if length > layout.offset_bytes:
        at = _number(field, layout)
        if at >= layout.size_bytes:
            return []
        file.seek(at)
        field = file.read(length)
    field = field[:length]
    return [_number(field[at : at + width], layout) for at in range(0, len(field) - width + 1, width)] if width else []
