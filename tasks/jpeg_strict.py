"""Decode a JPEG strictly: the same pixels as Pillow's, and word of the damage that Pillow passes over in silence.

libjpeg warns of damaged data and goes on with grey or shifted blocks; Pillow throws the warnings away, so of copies with
4 kB cut out of their middle it accepts all. simplejpeg stops at the first warning. What a reader would get wrong: not
every warning means damage. Metadata is taken out before decoding, because its mistakes harm no picture; the scan
parameters that Samsung phones write wrongly, and every decoder ignores, are put right; what else is no damage,
or simplejpeg cannot do, is left to Pillow.
"""

import mmap
import os
import re
import threading
from typing import BinaryIO

from PIL import Image

from tasks.geometry import Size
from tasks.jpeg_markers import BareJpeg, bare_jpeg
from tasks.resample import as_picture

# numpy, which simplejpeg brings along, would start a thread for each core here; nobody multiplies matrices, and Celery
# forks from this process.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import simplejpeg

# The modes of the pictures that it decodes; others it only looks through.
MODES = ("L", "RGB")
# Everything else that libjpeg says (jerror.h, JWRN_*) is about metadata or formalities, or means that this decoder
# lacks something. A missing end is Pillow's to judge.
_DAMAGE = "Corrupt JPEG data: "
_LEFT_OVER = re.compile(r"Corrupt JPEG data: (\d+) extraneous bytes before marker 0xd9")
_NO_MEMORY = "Insufficient memory"
_END = b"\xff\xd9"
_MAX_PADDING_BYTES = 16
# What holds the pixels is kept for the next picture, because new memory, which the kernel has to clear, would cost a third
# of the decoding. Enough for a picture of 16 MP; what is larger gets memory of its own, and gives it back.
_MAX_KEPT_BYTES = 64 << 20
_kept = threading.local()


class DamagedJpegError(Exception):
    """libjpeg met damaged data; the text is its own."""


def decode_strictly(
    file: BinaryIO, size_bytes: int, mode: str, size: Size, *, divisor: int = 1, soft_chroma: bool = True
) -> Image.Image | None:
    """The picture of `mode` "L", or "RGB" as RGBX, decoded at `size`: what Pillow's `draft` gave for 1/`divisor`.

    It lies in memory that the next call in this thread writes to: what is to be kept has to be copied before. Without
    `soft_chroma` each sample of colour fills its pixels without a gradient to its neighbours, as libjpeg can do faster;
    half as large nobody can tell.

    None when it is for Pillow to decode: another mode, or a JPEG that this decoder cannot do or has formal objections
    to. It was looked through for damage all the same, as far as that went. Raises DamagedJpegError, and OSError and
    MemoryError as reading and decoding do.
    """
    bare = bare_jpeg(file, size_bytes, divisor)
    bytes_per_pixel = 4 if mode == "RGB" else 1
    room = _room(bytes_per_pixel * size[0] * size[1])
    try:
        pixels = simplejpeg.decode_jpeg(
            bare.content,
            "RGBX" if mode == "RGB" else "GRAY",
            fastupsample=not soft_chroma,
            min_width=size[0],
            min_height=size[1],
            buffer=room,
            strict=True,
        )
    except ValueError as warning:
        if str(warning).startswith(_NO_MEMORY):  # Pillow would call the same thing a broken data stream
            raise MemoryError(str(warning)) from None
        damage = _damage_in(str(warning), bare)
        if damage:
            raise DamagedJpegError(damage) from None
        return None
    height, width = pixels.shape[:2]
    if mode not in MODES or (width, height) != size:
        return None
    return as_picture(room, "RGBX" if mode == "RGB" else "L", size)


def _room(size_bytes: int) -> mmap.mmap:
    """Writable memory of at least that size."""
    room: mmap.mmap | None = getattr(_kept, "room", None)
    if room is None or len(room) < size_bytes:
        room = mmap.mmap(-1, size_bytes)
        room.madvise(mmap.MADV_HUGEPAGE)  # a third less time again: pages of 4 kB are not found fast enough
        if size_bytes <= _MAX_KEPT_BYTES:
            _kept.room = room
    return room


def _damage_in(warning: str, bare: BareJpeg) -> str:
    """The damage that a warning tells of, "" when it tells of none."""
    if not warning.startswith(_DAMAGE):
        return ""
    left_over = _LEFT_OVER.match(warning)
    if left_over and _is_padding(bare, int(left_over[1])):
        return ""
    return warning.removeprefix(_DAMAGE)


def _is_padding(bare: BareJpeg, count: int) -> bool:
    """Whether the `count` bytes that were left over when the picture was complete, before its end mark, are none of it.

    Cheap cameras pad there with about ten bytes, and some encoders leave one stray byte (ImageNet has such files). More
    of them, zeros above all, are an unwritten part that happened to decode to a grey one.
    """
    end = bare.content.find(_END, bare.scan_at)
    left_over = bare.content[bare.scan_at : end].rstrip(b"\xff")[-count:]
    return count <= _MAX_PADDING_BYTES and len(set(left_over)) <= 1
