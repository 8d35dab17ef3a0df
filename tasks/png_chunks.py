"""Walk the chunks of a PNG without decoding it: whether it reaches its end, and how much text it carries, unpacked.

Exists because Pillow unpacks every text while it opens the file: a megabyte of packed zeros is a gigabyte of text. Chunk
layout: PNG (third edition) 5.3 and 11.3.
"""

import zlib
from dataclasses import dataclass
from typing import BinaryIO

from tasks.errors import InputError, Reason

# 256 MB in the usual 8 kB pieces are 32 000. Empty ones would keep Pillow's own loop, in Python too, busy for a minute.
_MAX_CHUNKS = 200_000
_TEXTS = (b"tEXt", b"zTXt", b"iTXt", b"iCCP")  # Pillow unpacks a colour profile by the same rules


@dataclass(slots=True)
class PngStructure:
    """`cut` means that the file ends inside a chunk, or in zeros instead of one; `ended` that nothing is missing.

    A chunk without a name is damage, not a cut: the walk stops there and calls it the end. `text_bytes` counts until it
    exceeds what was asked for.
    """

    text_bytes: int = 0
    cut: bool = False
    ended: bool = False


def walk_png(file: BinaryIO, size_bytes: int, max_text_bytes: int = 0) -> PngStructure:
    """Read chunks until the last one, damage, the end of the file, or more than `max_text_bytes` of text (0: count none).

    Raises InputError (corrupt) when there are more chunks than any real file has.
    """
    found, at = PngStructure(), 8
    for chunks in range(_MAX_CHUNKS + 1):
        if at >= size_bytes:
            found.cut = at > size_bytes
            return found
        if chunks == _MAX_CHUNKS:
            break
        file.seek(at)
        head = file.read(8)
        length, name = int.from_bytes(head[:4], "big"), head[4:8]
        if len(head) == 8 and not (name.isascii() and name.isalpha()):
            found.cut = head == bytes(8)
            found.ended = not found.cut
            return found
        if name in _TEXTS and max_text_bytes:
            found.text_bytes += _text_bytes(file, name, length, max_text_bytes - found.text_bytes)
        at += 12 + length
        if name == b"IEND" or found.text_bytes > max_text_bytes:
            found.ended, found.cut = at <= size_bytes, at > size_bytes
            return found
    raise InputError(Reason.CORRUPT, f"damaged or hostile png: more than {_MAX_CHUNKS} chunks")


def _text_bytes(file: BinaryIO, name: bytes, length: int, left: int) -> int:
    """How long the text of a chunk is, unpacked; one more than `left` when it is longer than that."""
    if length > left:  # as it stands; unpacked it is hardly less
        return left + 1
    packed = _packed(name, file.read(length))
    if packed is None:
        return length
    unpacker, unpacked = zlib.decompressobj(), 0
    try:
        while packed and unpacked <= left and not unpacker.eof:
            unpacked += len(unpacker.decompress(packed, min(left - unpacked + 1, 1 << 20)))
            packed = unpacker.unconsumed_tail
    except zlib.error:  # no text comes of it
        pass
    return max(unpacked, length) if unpacked <= left else left + 1


def _packed(name: bytes, content: bytes) -> bytes | None:
    """The part of a text chunk that is compressed, None when there is none."""
    _, _, rest = content.partition(b"\0")
    if name in (b"zTXt", b"iCCP"):
        return rest[1:]
    if name == b"iTXt" and rest[:1] == b"\1":
        return rest[2:].partition(b"\0")[2].partition(b"\0")[2]
    return None
