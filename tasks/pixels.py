"""Make every thumbnail of one image: the engine, as the list of its steps.

    decode once (a JPEG scaled down already, and strictly) -> normal mode -> shrink to the largest wanted size -> sRGB -> upright
    -> largest first, each from one before that is large enough -> crop -> encode

The order is the point: colour and turning are done on the small picture, where they cost a tenth; sizes are computed for
the upright one; crops are cut from whole pictures and never handed on. An image is loaded once, and dropped if
that fails: for some formats a second load would succeed with half the picture.
"""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import BinaryIO

from PIL import Image

from tasks.codecs import decoder_failures_named, open_image
from tasks.colour import to_srgb, without_idle_alpha
from tasks.containers import looks_truncated
from tasks.encode import encode
from tasks.errors import InputError, Reason, TruncatedError
from tasks.exif import ExifFacts, credits_only, read_exif
from tasks.facts import ImageFacts
from tasks.frames import representative
from tasks.geometry import Size, centred, decode_divisor, final_size, stored, whole_size
from tasks.header import Header
from tasks.item_properties import clean_aperture
from tasks.jpeg_strict import MODES, DamagedJpegError, decode_strictly
from tasks.kept_memory import keep_memory
from tasks.recipe import Recipe, WantedSize
from tasks.resample import shrink
from tasks.source_profile import profile_of

keep_memory()
# How many times as large a picture has to be for the next one to be made from it.
_LEAST_STEP = 1.5
# EXIF 2.32, tag 274: what turns the stored pixels upright.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True, slots=True)
class Rendition:
    """One encoded thumbnail; `width` and `height` are its own pixels, never more than the box of `size`."""

    size: WantedSize
    width: int
    height: int
    content: bytes


@dataclass(frozen=True, slots=True)
class Rendered:
    """What became of one image; `renditions` in the order of the recipe's sizes.

    `damage` says what the decoder found wrong and made thumbnails of all the same; "" for nothing.
    """

    facts: ImageFacts
    renditions: tuple[Rendition, ...]
    damage: str = ""


@dataclass(frozen=True, slots=True)
class _Decoded:
    """A decoded picture: `full` is its upright size before any scaling, `box` the part of `pixels` that is picture."""

    pixels: Image.Image
    box: tuple[float, float, float, float]
    full: Size
    exif: ExifFacts
    profile: bytes | None
    damage: str


def render(file: BinaryIO, header: Header, recipe: Recipe) -> Rendered:
    """Make every thumbnail of the recipe from `file`, whose `header` was read before.

    Raises InputError (corrupt, too_much_memory, too_many_pixels), TruncatedError when the file looks cut off, or what
    `from_os_error` makes of a failed read; anything else is our own fault.
    """
    try:
        with decoder_failures_named(file, header.format, header.size_bytes):
            decoded = _decode(file, header, recipe)
        facts = ImageFacts(
            header.format,
            *decoded.full,
            decoded.exif.orientation,
            decoded.exif.taken,
            decoded.exif.camera,
            header.frames,
            damaged=bool(decoded.damage),
        )
        kept = credits_only(decoded.exif) if "copyright" in recipe.keep else b""
        wholes, damage = _wholes(decoded, recipe), decoded.damage
        del decoded  # the large picture goes before the small ones are encoded
        made = dict(_cut(wholes, (facts.width, facts.height), recipe, kept))
    except MemoryError as error:
        raise InputError(
            Reason.TOO_MUCH_MEMORY, "resizing this image takes more memory than a worker may use"
        ) from error
    return Rendered(facts, tuple(made[size] for size in recipe.sizes), damage)


def _decode(file: BinaryIO, header: Header, recipe: Recipe) -> _Decoded:
    image = open_image(file, header.format, header.max_pixels)
    full, box, strict, damage = image.size, None, None, ""
    if header.format == "jpeg":
        least = _least_useful(full, recipe)
        divisor = decode_divisor(full, least, fitted=image.mode in MODES)
        if divisor > 1 and _has_coarse_colour(image):
            divisor //= 2
        drafted = image.draft(None, (full[0] // divisor, full[1] // divisor))
        box = drafted[1] if drafted else None
        soft_chroma = full[0] < 2 * least[0]
        strict, damage = _decode_strictly(image, file, header, divisor=divisor, soft_chroma=soft_chroma)
    if strict is None:
        image.load()
    if box is None:
        full = image.size  # a HEIC may turn out otherwise than its header said
    exif = read_exif(image, header.format)
    profile = profile_of(image.info.get("icc_profile"), file, header.format)
    pixels = representative(image, file, header) if strict is None else strict
    if header.format == "avif" and (shown := clean_aperture(file, *pixels.size)):
        pixels = pixels.crop(shown)
        full = pixels.size
    return _Decoded(pixels, box or (0, 0, *pixels.size), stored(full, exif.orientation), exif, profile, damage)


def _decode_strictly(
    image: Image.Image, file: BinaryIO, header: Header, *, divisor: int, soft_chroma: bool
) -> tuple[Image.Image | None, str]:
    """The pixels of a JPEG, None where Pillow has to decode it; and what damage was found.

    Raises TruncatedError for a damaged one without its end: the rest may still come.
    """
    try:
        pixels = decode_strictly(
            file, header.size_bytes, image.mode, image.size, divisor=divisor, soft_chroma=soft_chroma
        )
    except DamagedJpegError as found:
        with suppress(InputError):  # the walk lost its way in the damage, which says nothing about the end
            if looks_truncated(file, "jpeg", header.size_bytes):
                text = f"this jpeg looks cut off ({found})"
                raise TruncatedError(text, "it is tried again when it changes") from found
        return None, str(found)
    return pixels, ""


def _largest_whole(full: Size, recipe: Recipe) -> Size:
    return max(whole_size(full, size) for size in recipe.sizes)


def _has_coarse_colour(jpeg: Image.Image) -> bool:
    """Whether its colours are less than half as wide or high as the picture, as old camcorders and panoramas have them (4:1:1)."""
    samplings = [component[1:3] for component in getattr(jpeg, "layer", [])]
    return any(max(way) > 2 * min(way) for way in zip(*samplings, strict=True))


def _least_useful(stored_size: Size, recipe: Recipe) -> Size:
    """The largest thumbnail as it is stored; before decoding the orientation is unknown, so both ways have to fit."""
    flat = _largest_whole(stored_size, recipe)
    turned = _largest_whole(stored_size[::-1], recipe)[::-1]
    return max(flat[0], turned[0]), max(flat[1], turned[1])


def _wholes(decoded: _Decoded, recipe: Recipe) -> dict[Size, Image.Image]:
    """The whole picture in every size that is wanted, in sRGB and upright.

    Largest first, and each from the smallest one before that is large enough: who is resized twice by little loses detail
    twice (41 dB from 1.1 times its size, 50 from 1.5).
    """
    made: dict[Size, Image.Image] = {}
    for size in sorted({whole_size(decoded.full, size) for size in recipe.sizes}, reverse=True):
        larger = [one for one in made if max(one) >= _LEAST_STEP * max(size)]
        made[size] = shrink(made[larger[-1]], size) if larger else _upright(decoded, size)
    return made


def _upright(decoded: _Decoded, size: Size) -> Image.Image:
    """The whole picture at one size, from the decoded one."""
    orientation = decoded.exif.orientation
    small = shrink(decoded.pixels, stored(size, orientation), decoded.box)
    base = without_idle_alpha(to_srgb(small, decoded.profile))
    return base.transpose(_TURNS[orientation]) if orientation in _TURNS else base


def _cut(
    wholes: Mapping[Size, Image.Image], full: Size, recipe: Recipe, kept: bytes
) -> Iterator[tuple[WantedSize, Rendition]]:
    """Cut and encode every thumbnail; what comes out alike, as two boxes larger than the picture do, is encoded once."""
    encoded: dict[tuple[Size, Size, WantedSize], bytes] = {}
    for wanted in recipe.sizes:
        whole, final = wholes[whole_size(full, wanted)], final_size(full, wanted)
        look = whole.size, final, replace(wanted, width=0, height=0, fit="contain")
        if look not in encoded:
            picture = whole if final == whole.size else whole.crop(centred(whole.size, final))
            encoded[look] = encode(picture, wanted, recipe.background, kept)
        yield wanted, Rendition(wanted, *final, encoded[look])
