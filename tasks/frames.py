"""Choose the frame of an animation that stands for it: the first that shows something.

Many animations begin with a blank canvas. A few frames are looked at, no more: each costs as much as a picture. What a reader
would get wrong: a later frame may be damaged in a file whose first one is fine; then the first one stands.
"""

from typing import BinaryIO

from PIL import Image

from tasks.codecs import DECODER_ERRORS, open_image
from tasks.colour import normalise
from tasks.header import Header

MAX_LOOKS = 10
# Over all frames that are looked at, the first included: a second's work of a GIF or WebP decoder.
MAX_LOOK_PIXELS = 40_000_000
# Whatever is wrong with a later frame, a bomb among it.
_NO_FRAME: tuple[type[Exception], ...] = (
    *DECODER_ERRORS,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)
_ANIMATED = ("gif", "webp", "png", "avif")
_BLANK_RANGE = 12  # of 255; lossy encoders do not keep a blank canvas quite blank


def representative(image: Image.Image, file: BinaryIO, header: Header) -> Image.Image:
    """The frame to show of a loaded image, normalised: its first, unless that is blank and a later one is not.

    Of blank frames the first that is not wholly transparent is taken.
    """
    picture = normalise(image, header.format)
    if header.frames < 2 or header.format not in _ANIMATED or not is_blank(picture):
        return picture
    looks = min(MAX_LOOKS, header.frames, MAX_LOOK_PIXELS // max(1, image.width * image.height))
    return _first_of_the_later(picture.copy(), image, file, header, looks)


def is_blank(picture: Image.Image) -> bool:
    """Whether a normalised picture shows one colour and nothing else."""
    if is_clear(picture):
        return True
    ranges = [high - low for low, high in _extrema(picture)]
    return max(ranges) <= _BLANK_RANGE


def is_clear(picture: Image.Image) -> bool:
    """Whether a normalised picture is wholly transparent."""
    return picture.mode in ("LA", "RGBA") and _extrema(picture)[-1][1] == 0


def _first_of_the_later(
    first: Image.Image, image: Image.Image, file: BinaryIO, header: Header, looks: int
) -> Image.Image:
    chosen = first
    try:
        film = open_image(file, "apng", header.max_pixels) if header.format == "png" else image
        for number in range(1, looks):
            film.seek(number)
            film.load()
            picture = normalise(film, header.format)
            if picture.size != first.size:
                break
            if not is_blank(picture):
                return picture
            if is_clear(chosen) and not is_clear(picture):
                chosen = picture.copy()
    except _NO_FRAME:
        pass
    return chosen


def _extrema(picture: Image.Image) -> list[tuple[int, int]]:
    found = picture.getextrema()
    return [found] if len(picture.getbands()) == 1 else list(found)  # type: ignore[arg-type,list-item]  # one band: a pair
