"""Find out what colour space the pixels of a file are in: an ICC profile, embedded or made from the numbers that it names.

Decoders give the embedded profile only. The numbers stand in a chunk of a PNG (PNG 3, 11.3.2.6: it goes before any profile),
and in a box of an AVIF or HEIC (ISO/IEC 23008-12, 6.5.5: it counts where there is no profile).
"""

from typing import BinaryIO

from tasks.cicp import profile_for
from tasks.item_properties import colour_numbers

_MAX_PARTS = 10_000  # chunks that are looked at


def profile_of(embedded: object, file: BinaryIO, kind: str) -> bytes | None:
    """The ICC profile of the pixels in `file`, None for sRGB; `embedded` is the one that the decoder found."""
    found = embedded if isinstance(embedded, bytes) and embedded else None
    if kind == "png":
        return _named(_png_numbers(file)) or found
    if kind in ("avif", "heic") and found is None:
        return _named(colour_numbers(file))
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
