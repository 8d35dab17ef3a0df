"""The files of the chaos test: small pictures that can be told from each other by colour, and files that are none.

Pure: everything comes from the given random.Random, so a seed gives the same bytes. What a reader would get wrong: the
pictures are tiny so that faults, and not the decoding, fill the minutes; those to be cut off are larger, so that the
cut goes through pixels.
"""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from PIL import Image, ImageStat

from images import SUFFIXES, dng, encoded, oriented, png_bomb

Colour = tuple[float, float, float]
MAX_BYTES = 300_000  # what the settings of the run allow

# How often each format is dropped, of a hundred.
_FORMATS = {"jpeg": 50, "png": 22, "webp": 12, "gif": 6, "tiff": 4, "bmp": 3, "avif": 1, "heic": 2}
_RESUMABLE = ("jpeg", "png", "webp")


@dataclass(frozen=True)
class Picture:
    """A whole image: the bytes, what it measures when upright, and its mean colour."""

    content: bytes
    suffix: str
    width: int
    height: int
    colour: Colour


def picture(rng: Random, *, resumable: bool = False) -> Picture:
    """A picture of one colour with a patch of noise; no two have the same bytes."""
    kind = rng.choice(_RESUMABLE) if resumable else rng.choices(list(_FORMATS), list(_FORMATS.values()))[0]
    size = (96, 80) if resumable else (rng.randint(24, 64), rng.randint(24, 64))
    image = Image.new("RGB", size, (rng.randrange(256), rng.randrange(256), rng.randrange(256)))
    side = min(size) // (1 if resumable else 3)
    patch = Image.frombytes("RGB", (side, side), rng.randbytes(3 * side * side))
    image.paste(patch, (rng.randint(0, size[0] - side), rng.randint(0, size[1] - side)))
    content = oriented(image, rng.randint(1, 8), quality=92) if kind == "jpeg" else encoded(image, kind)
    return Picture(content, SUFFIXES[kind], *size, mean_colour(image))


def mean_colour(image: Image.Image) -> Colour:
    """The mean of each channel."""
    red, green, blue = ImageStat.Stat(image.convert("RGB")).mean
    return red, green, blue


def _damaged_png(rng: Random) -> bytes:
    content = bytearray(encoded(Image.frombytes("RGB", (40, 40), rng.randbytes(4800)), "png"))
    content[len(content) // 2] ^= 0xFF
    return bytes(content)


def _truncated(rng: Random) -> bytes:
    content = picture(rng, resumable=True).content
    return content[: int(len(content) * rng.uniform(0.4, 0.9))]


# By the reason that quarantine must give; the suffix says nothing.
BAD: dict[str, Callable[[Random], bytes]] = {
    "not_an_image": lambda rng: b"Dear uploader, this is no photo: " + rng.randbytes(200).hex().encode(),
    "corrupt": _damaged_png,
    "empty": lambda rng: rng.randbytes(0),
    "truncated": _truncated,
    "unsupported_raw": lambda rng: dng() + rng.randbytes(16),
    "unsupported_format": lambda rng: b"\0\0\0\x0cjP  \r\n\x87\n\0\0\0\x14ftypjp2 " + rng.randbytes(300),
    "too_many_pixels": lambda rng: png_bomb() + rng.randbytes(16),
    "too_many_bytes": lambda rng: picture(rng).content + rng.randbytes(MAX_BYTES),
}
