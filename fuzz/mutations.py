"""Change a file a little, in ways that get far: bytes anywhere, and parts, fields and tags where the format has them.

Pure: all chance comes from the `random.Random` that is passed in, so a seed gives the same inputs again.
"""

import re
import struct
import zlib
from collections.abc import Callable
from random import Random

from fuzz import parts
from fuzz.parts import Part

MAX_BYTES = 400_000

_NUMBERS = (
    *range(5), 7, 8, 9, 15, 16, 17, 31, 32, 63, 64, 127, 128, 255, 256, 257, 1000, 4095, 4096, 4097, 16383, 16384, 32767,
    32768, 65534, 65535, 65536, 65537, 1 << 24, (1 << 31) - 1, 1 << 31, (1 << 32) - 2, (1 << 32) - 1,
)  # fmt: skip
# Boxes of ISO base media files (AVIF, HEIC), and others whose neighbourhood is full of sizes and counts.
_BOXES = rb"ftyp|meta|hdlr|pitm|iinf|infe|iloc|iprp|ipco|ispe|pixi|av1C|hvcC|irot|imir|clap|colr|auxC|ipma|iref|idat|grid|mdat"
_BOXES += rb"|moov|trak|stsd|stsz|stco|stts|nclx|prof|rICC|dimg|thmb|Exif"
_LANDMARKS = re.compile(_BOXES + rb"|VP8[ LX]|ALPH|ANMF|ANIM|EXIF|ICCP|acsp|NETSCAPE|\x21\xf9|\x2c\0\0|\xff[\xc0-\xdf]")
_TIFF = re.compile(rb"II\*\0|MM\0\*")
_PNG_NAMES = (
    b"tRNS PLTE gAMA cHRM sRGB iCCP sBIT bKGD pHYs acTL fcTL fdAT eXIf zTXt iTXt tEXt cICP IHDR IDAT IEND".split()
)

Mutation = Callable[[bytes, Random, bytes], bytes]


def mutated(content: bytes, chance: Random, other: bytes) -> bytes:
    """`content` after one to six changes; some take pieces of `other`, another seed."""
    for _ in range(min(6, 1 + int(chance.expovariate(0.7)))):
        content = chance.choices(_MUTATIONS, _WEIGHTS)[0](content, chance, other)[:MAX_BYTES]
    return content


# -- bytes anywhere


def flip_bits(content: bytes, chance: Random, _: bytes) -> bytes:
    """Flip one to eight bits."""
    changed = bytearray(content)
    for _n in range(chance.randint(1, 8) if changed else 0):
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def set_number(content: bytes, chance: Random, _: bytes) -> bytes:
    """Write a number that programs stumble over, mostly near the beginning, where headers are."""
    reach = len(content) if chance.random() < 0.3 else min(len(content), 200)
    return _with_number(content, chance.randrange(reach + 1), chance)


def move_bytes(content: bytes, chance: Random, other: bytes) -> bytes:
    """Cut out, repeat, blank, scramble or replace a run of bytes."""
    length = min(len(content), int(2 ** chance.uniform(0, 13)))
    at = chance.randint(0, len(content) - length)
    run, source = content[at : at + length], other[chance.randrange(len(other) + 1) :][:length]
    changes = (b"", run + run, run * chance.randint(3, 40), bytes(length), b"\xff" * length, source, run + source)
    scrambled = bytes(chance.sample(run, len(run)))
    return content[:at] + chance.choice((*changes, scrambled, chance.randbytes(length))) + content[at + length :]


def cut_off(content: bytes, chance: Random, _: bytes) -> bytes:
    """End early, or in zeros."""
    kept = content[: chance.randint(0, len(content))]
    return kept.ljust(len(content), b"\0") if chance.random() < 0.3 else kept


def splice(content: bytes, chance: Random, other: bytes) -> bytes:
    """Go on as another file does."""
    return content[: chance.randint(0, len(content))] + other[chance.randint(0, len(other)) :]


# -- where the format has something


def near_a_landmark(content: bytes, chance: Random, _: bytes) -> bytes:
    """Change a number just before or behind a box, chunk, block or marker."""
    places = [found.start() for found in _LANDMARKS.finditer(content)]
    if not places:
        return content
    return _with_number(content, max(0, chance.choice(places) + chance.randint(-4, 24)), chance)


def in_a_directory(content: bytes, chance: Random, _: bytes) -> bytes:
    """Change an entry of a TIFF directory: of a TIFF, or of EXIF wherever that stands."""
    bases = [found.start() for found in _TIFF.finditer(content)]
    if not bases:
        return content
    base = chance.choice(bases)
    order = "<" if content[base : base + 1] == b"I" else ">"
    try:
        (offset,) = struct.unpack_from(order + "I", content, base + 4)
        (count,) = struct.unpack_from(order + "H", content, base + offset)
    except struct.error:
        return content
    entry = base + offset + 2 + 12 * chance.randrange(min(count, 60) + 1)
    field, kind = chance.choice(((0, "H"), (2, "H"), (4, "I"), (8, "I"), (8, "H")))
    if entry + 12 > len(content):
        return content
    limit = 1 << 8 * struct.calcsize(kind)
    small = chance.randrange(20) if field == 2 else _number(chance, len(content))
    return _overwritten(content, entry + field, struct.pack(order + kind, small % limit))


def among_parts(content: bytes, chance: Random, other: bytes) -> bytes:
    """Drop, repeat, swap, change or borrow parts; the frame around them stays right."""
    all_parts = parts.split(content)
    if not all_parts:
        return content
    index, another = chance.randrange(len(all_parts)), chance.randrange(len(all_parts))
    part, deed = all_parts[index], chance.randrange(8)
    if deed == 0:
        del all_parts[index]
    elif deed == 1:
        all_parts.insert(another, part)
    elif deed == 2:
        all_parts[index], all_parts[another] = all_parts[another], part
    elif deed == 3:
        all_parts[index:index] = [part] * chance.choice((2, 20, 200, 2000 if len(part.content) < 50 else 30))
    elif deed == 4:
        borrowed = parts.split(other)
        if borrowed:
            all_parts.insert(index, chance.choice(borrowed))
    elif deed == 5 and content.startswith(b"\x89PNG"):
        name = chance.choice(_PNG_NAMES)
        all_parts.insert(chance.randint(0, 2), Part(name, chance.randbytes(chance.randrange(40))))
    else:
        all_parts[index] = Part(part.name, _inside(part, chance, other))
    return parts.join(content, all_parts)


def _inside(part: Part, chance: Random, other: bytes) -> bytes:
    """The content of a part, changed; what is packed by zlib in it is mostly changed before packing."""
    if part.name in (b"IDAT", b"fdAT") and chance.random() < 0.7:
        try:
            unpacker = zlib.decompressobj()
            return zlib.compress(_any(unpacker.decompress(part.content, MAX_BYTES), chance, other), 1)
        except zlib.error:
            return part.content
    return _any(part.content, chance, other)


def _any(content: bytes, chance: Random, other: bytes) -> bytes:
    return chance.choice((flip_bits, set_number, set_number, move_bytes, cut_off))(content, chance, other)


def _number(chance: Random, length: int) -> int:
    return chance.choice((chance.choice(_NUMBERS), chance.choice(_NUMBERS), chance.randrange(256), length, length - 1))


def _with_number(content: bytes, at: int, chance: Random) -> bytes:
    kind = chance.choice(("B", "<H", ">H", "<I", ">I", ">I"))
    limit = 1 << 8 * struct.calcsize(kind)
    return _overwritten(content, at, struct.pack(kind, _number(chance, len(content)) % limit))


def _overwritten(content: bytes, at: int, new: bytes) -> bytes:
    return content[:at] + new + content[at + len(new) :]


_MUTATIONS: tuple[Mutation, ...] = (
    flip_bits,
    set_number,
    move_bytes,
    cut_off,
    splice,
    near_a_landmark,
    in_a_directory,
    among_parts,
)
_WEIGHTS = (3, 3, 3, 1, 1, 4, 4, 6)
