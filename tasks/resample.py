"""Resize pictures with LANCZOS: the single place where pixels are resampled, by SIMD where that is installed.

cykooz-resizer has wheels for x86-64; elsewhere Pillow does the same several times slower, under the same names, and with
results that nobody can tell apart (55 dB). Neither starts a thread, so the number of cores changes no byte. What a
reader would get wrong: RGBX is not a fourth colour but RGB as Pillow keeps it anyway, in four bytes a pixel; so what a
decoder wrote like that need not be copied into a picture before it is resized.
"""

from functools import cache
from typing import Any

from PIL import Image

from tasks.geometry import Size

try:
    import cykooz_resizer as simd
except ImportError:  # no wheel for this machine
    simd = None

HAS_SIMD = simd is not None
Box = tuple[float, float, float, float]
Buffer = Any  # writable memory: an mmap, an array; Python 3.11 has no name for it

# With a gap of 3 Pillow's filter is preceded by an exact integer reduction: the same to 55 dB, and much cheaper.
_PILLOW_GAP = 3.0
_SIMD_MODES = ("L", "RGB", "RGBX", "RGBA", "CMYK")
# What lies between the two passes of a resize is kept for the next picture, unless it is larger than a photo needs.
_MAX_KEPT_BYTES = 32 << 20


def shrink(image: Image.Image, size: Size, box: Box | None = None) -> Image.Image:
    """Resize with LANCZOS to `size`, from `box` (left, upper, right, lower) of the image if given; RGBX becomes RGB.

    Alpha is multiplied in before and taken out after. An image that has that size already is returned as it is.
    """
    whole = (0, 0, *image.size)
    if size == image.size and box in (None, whole):
        return _copied(image) if image.mode == "RGBX" else image
    if HAS_SIMD and image.mode in _SIMD_MODES:
        return _by_simd(image, size, box or whole)
    made = image.resize(size, Image.Resampling.LANCZOS, box=box, reducing_gap=_PILLOW_GAP)
    return _copied(made) if made.mode == "RGBX" else made


def as_picture(pixels: Buffer, mode: str, size: Size) -> Image.Image:
    """The picture of that mode, L or RGBX, whose rows lie in `pixels`; not a copy: it shows what is written there later."""
    return Image.frombuffer(mode, size, pixels, "raw", mode, 0, 1)


def write_pixels(image: Image.Image, room: Buffer) -> None:
    """Copy the pixels of an RGB picture to that memory, four bytes each; `tobytes` takes six times as long."""
    _as_rgb(as_picture(room, "RGBX", image.size)).paste(image)


def _by_simd(image: Image.Image, size: Size, box: Box) -> Image.Image:
    if image.mode == "RGBX":
        image = _as_rgb(image)  # the name that the resizer knows
    options = simd.ResizeOptions(
        simd.ResizeAlg.convolution(simd.FilterType.lanczos3),
        crop_box=simd.CropBox(box[0], box[1], box[2] - box[0], box[3] - box[1]),
    )
    made = Image.new(image.mode, size, None)
    between_bytes = 4 * size[0] * image.height
    resizer = _kept_resizer() if between_bytes <= _MAX_KEPT_BYTES else simd.Resizer()
    resizer.resize_pil(image, made, options)
    return made


def _as_rgb(image: Image.Image) -> Image.Image:
    """The same memory of an RGBX picture under the other name."""
    renamed = image._new(image.im)  # noqa: SLF001
    renamed._mode = "RGB"  # noqa: SLF001
    return renamed


def _copied(image: Image.Image) -> Image.Image:
    """An RGB picture of an RGBX one, a sixth of the time of `convert`."""
    made = Image.new("RGB", image.size, None)
    made.paste(_as_rgb(image))
    return made


@cache
def _kept_resizer() -> Any:
    return simd.Resizer()
