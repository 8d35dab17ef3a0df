"""Take a file of a known format apart into parts with a name, and put it together again so that its frame is right.

A JPEG's segments, the chunks of PNG and WebP: lengths and checksums are made anew, so that what was changed inside
reaches the code behind them.
"""

import struct
import zlib
from typing import NamedTuple


class Part(NamedTuple):
    """One part: a JPEG's marker byte, a chunk's four letters; b"" is the rest of a file, which has no frame."""

    name: bytes
    content: bytes


def split(content: bytes) -> list[Part]:
    """The parts of a JPEG, PNG or WebP; none for anything else."""
    if content.startswith(b"\xff\xd8"):
        return _split_jpeg(content)
    if content.startswith(b"\x89PNG"):
        return _split_chunks(content, 8, ">", 4)
    if content.startswith(b"RIFF"):
        return _split_chunks(content, 12, "<", 0)
    return []


def join(like: bytes, parts: list[Part]) -> bytes:
    """A file of the format of `like` made of `parts`."""
    if like.startswith(b"\xff\xd8"):
        return b"\xff\xd8" + b"".join(_segment(part) for part in parts)
    if like.startswith(b"\x89PNG"):
        return like[:8] + b"".join(_png_chunk(part) for part in parts)
    body = b"WEBP" + b"".join(_riff_chunk(part) for part in parts)
    return b"RIFF" + struct.pack("<I", len(body) & 0xFFFFFFFF) + body


def _split_jpeg(content: bytes) -> list[Part]:
    parts, at = [], 2
    while content[at : at + 1] == b"\xff" and len(content) > at + 4:
        name, length = content[at + 1 : at + 2], int.from_bytes(content[at + 2 : at + 4], "big")
        if name in (b"\xda", b"\xd9") or length < 2:
            break
        parts.append(Part(name, content[at + 4 : at + 2 + length]))
        at += 2 + length
    return [*parts, Part(b"", content[at:])]


def _split_chunks(content: bytes, at: int, order: str, tail: int) -> list[Part]:
    parts = []
    while at + 8 <= len(content):
        if order == ">":
            length, name = struct.unpack(">I4s", content[at : at + 8])
        else:
            name, length = struct.unpack("<4sI", content[at : at + 8])
        parts.append(Part(name, content[at + 8 : at + 8 + length]))
        at += 8 + length + tail + (length & 1 if order == "<" else 0)
    return parts


def _segment(part: Part) -> bytes:
    if not part.name:
        return part.content
    return b"\xff" + part.name + struct.pack(">H", min(len(part.content) + 2, 65535)) + part.content[:65533]


def _png_chunk(part: Part) -> bytes:
    checksum = zlib.crc32(part.name + part.content)
    return struct.pack(">I", len(part.content)) + part.name + part.content + struct.pack(">I", checksum)


def _riff_chunk(part: Part) -> bytes:
    return part.name + struct.pack("<I", len(part.content)) + part.content + bytes(len(part.content) & 1)
