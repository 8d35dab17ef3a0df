"""Encode one finished thumbnail: deterministic bytes, nothing of the source's metadata.

A fresh image is encoded, never one that a decoder made: Pillow's writers pick comments, EXIF and profiles out of what
an image carries along. Pixels are sRGB, so no profile is written.
"""

from io import BytesIO
from typing import Any

from PIL import Image

from tasks.colour import flattened
from tasks.recipe import OutputFormat, WantedSize

_MODES: dict[OutputFormat, tuple[str, ...]] = {
    "jpeg": ("L", "RGB"),
    "webp": ("RGB", "RGBA"),
    "avif": ("L", "RGB", "RGBA"),
    "png": ("L", "RGB", "RGBA"),
}


def encode(image: Image.Image, wanted: WantedSize, background: tuple[int, int, int], exif: bytes = b"") -> bytes:
    """Encode an image of mode L, RGB or RGBA; alpha is laid on `background` where the format has none.

    `exif` is what `tasks.exif.credits_only` made, the only metadata that is ever written.

    The same pixels give the same bytes with the same versions of Pillow and its codecs, on any number of cores. Raises
    what Pillow raises: that is our fault (a box larger than the format allows), never the file's.
    """
    if wanted.format == "jpeg":
        image = flattened(image, background)
    if image.mode not in _MODES[wanted.format]:
        image = image.convert("RGB")
    content = BytesIO()
    kept = {"exif": exif} if exif else {}
    _fresh(image).save(content, format=wanted.format, **_options(wanted), **kept)
    return content.getvalue()


def _fresh(image: Image.Image) -> Image.Image:
    """The image without anything but pixels: itself when it is a plain one, else a copy."""
    if type(image) is Image.Image and not image.info:
        return image
    fresh = Image.new(image.mode, image.size)
    fresh.paste(image)
    return fresh


def _options(wanted: WantedSize) -> dict[str, Any]:
    """The encoder's settings; every one that changes bytes is named, so that a new default of Pillow's changes none."""
    if wanted.format == "jpeg":
        return {
            "quality": wanted.quality,
            "subsampling": wanted.subsampling,
            "optimize": False,
            "progressive": wanted.progressive,
        }
    if wanted.format == "webp":
        return {"quality": wanted.quality, "method": 4, "lossless": False, "exact": False}
    if wanted.format == "avif":
        # Speed 8 takes a third of the time of 6; the bytes depend on the number of threads.
        return {
            "quality": wanted.quality,
            "subsampling": wanted.subsampling,
            "speed": 8,
            "max_threads": 1,
            "range": "full",
        }
    return {"compress_level": 6, "optimize": False}  # lossless: quality says nothing here
