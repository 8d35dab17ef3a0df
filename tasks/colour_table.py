"""Apply a colour transform to a large picture by a table: a fifth of the time of littlecms, and the same to 55 dB.

Phones write Display P3, so most photos are converted, and littlecms takes as long for the largest thumbnail as its resizing.
The table holds, for each cell of 4x4x4 colours, how much each channel goes up or down there: a difference changes slowly from
colour to colour where the colours themselves do not. What a reader would get wrong: whether it is used depends on the
picture's size only, never on what was done before, because the bytes must not.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from tasks.resample import write_pixels

# Below that littlecms takes a few milliseconds, and is exact.
MIN_PIXELS = 300_000
_CELLS = 64  # a channel
_PIECE_PIXELS = 1 << 15  # what a step leaves has to be in the processor's cache for the next one


def apply_by_table(transform: ImageCms.ImageCmsTransform, image: Image.Image) -> Image.Image:
    """Convert an RGB picture by a transform from RGB to RGB."""
    steps = _steps(transform)
    pixels = np.empty(image.width * image.height, np.uint32)
    write_pixels(image, pixels)
    for at in range(0, pixels.size, _PIECE_PIXELS):
        piece = pixels[at : at + _PIECE_PIXELS]
        cell = piece >> 2 & 0x3F
        cell |= piece >> 4 & 0xFC0
        cell |= piece >> 6 & 0x3F000
        channels = piece.view(np.uint8)
        channels += steps.take(cell, mode="clip").view(np.uint8)  # no cell lies outside, and not to ask is faster
    return Image.frombytes("RGB", image.size, pixels, "raw", "RGBX")


@lru_cache(maxsize=2)
def _steps(transform: ImageCms.ImageCmsTransform) -> NDArray[np.uint32]:
    """What is added to the channels of an RGBX pixel in each cell, modulo 256; no colour of the cell passes 0 or 255 by it."""
    colours = _colours(0)
    # The middle of a cell lies between its second and third value.
    difference = (_difference(transform, 1) + _difference(transform, 2) + 1) >> 1
    packed = np.zeros((len(colours), 4), np.uint8)
    packed[:, :3] = np.clip(difference, -colours, 252 - colours)
    return packed.view(np.uint32).ravel()


def _difference(transform: ImageCms.ImageCmsTransform, offset: int) -> NDArray[np.int16]:
    colours = _colours(offset)
    before = Image.frombytes("RGB", (_CELLS * _CELLS, _CELLS), colours.astype(np.uint8).tobytes())
    return np.frombuffer(transform.apply(before).tobytes(), np.uint8).reshape(-1, 3).astype(np.int16) - colours


def _colours(offset: int) -> NDArray[np.int16]:
    """The colour with that offset in each cell, red running fastest."""
    values = np.arange(_CELLS, dtype=np.int16) * 4 + offset
    blue, green, red = np.meshgrid(values, values, values, indexing="ij")
    return np.stack((red, green, blue), axis=-1).reshape(-1, 3)
