"""Bring every kind of pixel to 8-bit sRGB: first the mode, before resizing; then the profile, on the small picture.

What a reader would get wrong: Pillow's own conversions clip 16-bit grey to white, resize 1-bit and palette pictures
without any filter, and drop colour profiles silently; so nothing may skip these two steps.
"""

from functools import lru_cache
from io import BytesIO

from PIL import Image, ImageCms

from tasks.codecs import DECODER_ERRORS
from tasks.colour_table import MIN_PIXELS, apply_by_table

# Beyond this a profile is ignored. CMYK profiles of printers have up to 3 MB.
MAX_PROFILE_BYTES = 4 << 20

_SPACES = {"L": "GRAY", "LA": "GRAY", "RGB": "RGB", "RGBA": "RGB", "CMYK": "CMYK"}  # ICC.1:2010, table 19
_KEPT_MODES = ("L", "LA", "RGB", "RGBA", "CMYK")
_GREY_16 = ("I;16", "I;16L", "I;16B", "I;16N")


def normalise(image: Image.Image, kind: str) -> Image.Image:
    """Convert to one of the modes L, LA, RGB, RGBA or CMYK, 8 bits each, with transparency as a channel."""
    if image.mode in _GREY_16 or image.mode in ("I", "F"):
        return _with_clear_value(_to_eight_bits(image, kind), image)
    image = _with_true_transparency(image, kind)
    if image.has_transparency_data and image.mode not in ("LA", "RGBA"):
        return image.convert("RGBA")
    if image.mode in _KEPT_MODES:
        return image
    if image.mode == "LAB":
        return _from_lab(image)
    return image.convert("L" if image.mode == "1" else "RGB")


def _with_true_transparency(image: Image.Image, kind: str) -> Image.Image:
    """Put right what Pillow makes of transparency where a format's own rules are other than their words."""
    if kind == "gif" and _is_partly_covered(image):
        return _clear_around(image)
    if kind == "bmp" and image.mode == "RGBA" and image.getchannel("A").getextrema() == (0, 0):
        return image.convert("RGB")  # written by programs to which the fourth byte means nothing
    return image


def _is_partly_covered(image: Image.Image) -> bool:
    return getattr(image, "dispose_extent", None) not in (None, (0, 0, *image.size)) and image.tell() == 0


def _clear_around(image: Image.Image) -> Image.Image:
    """A first frame of a GIF on a clear canvas, as browsers show it; Pillow fills the canvas with some colour."""
    covered: tuple[int, int, int, int] = image.dispose_extent  # type: ignore[attr-defined]
    canvas = Image.new("RGBA", image.size, (0, 0, 0, 0))
    canvas.paste(image.convert("RGBA").crop(covered), covered)
    return canvas


def _with_clear_value(grey: Image.Image, source: Image.Image) -> Image.Image:
    """Make clear what was of the one value that `source`, 16-bit grey, calls transparent (PNG 3, 11.3.1.1)."""
    value = source.info.get("transparency")
    if not isinstance(value, int) or source.mode not in _GREY_16:
        return grey
    opaque = [255] * 65536
    opaque[value & 0xFFFF] = 0
    grey.putalpha(source.convert("I").point(opaque, "L"))
    return grey


def to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Convert a normalised image to sRGB: modes L, RGB or RGBA come out.

    Relative colorimetric, without black point compensation, as libvips does it. A profile that is broken, or made for
    another kind of pixels, is ignored: a picture in slightly wrong colours is better than none.
    """
    transform = _transform(profile, image.mode) if profile and len(profile) <= MAX_PROFILE_BYTES else None
    if transform is None:
        wanted = {"CMYK": "RGB", "LA": "RGBA"}.get(image.mode, image.mode)
        return image if image.mode == wanted else image.convert(wanted)
    if image.mode in ("LA", "RGBA"):
        converted = _applied(transform, image.convert(image.mode[:-1])).convert("RGB")
        converted.putalpha(image.getchannel("A"))
        return converted
    if image.mode == "RGB" and image.width * image.height >= MIN_PIXELS:
        return apply_by_table(transform, image)
    converted = _applied(transform, image)
    return converted.convert("L") if image.mode == "L" else converted


def without_idle_alpha(image: Image.Image) -> Image.Image:
    """Drop an alpha channel that hides nothing."""
    if image.mode == "RGBA" and image.getchannel("A").getextrema() == (255, 255):
        return image.convert("RGB")
    return image


def flattened(image: Image.Image, background: tuple[int, int, int]) -> Image.Image:
    """Lay a picture with alpha on the background; others are returned as they are."""
    if image.mode != "RGBA":
        return image
    below = Image.new("RGBA", image.size, (*background, 255))
    return Image.alpha_composite(below, image).convert("RGB")


def _to_eight_bits(image: Image.Image, kind: str) -> Image.Image:
    """Scale grey of more than 8 bits to 0..255."""
    if image.mode in _GREY_16 and image.mode != "I;16":
        image = image.convert("I")  # Pillow can do little with the other byte orders
    low, high = (float(value) for value in image.getextrema())  # type: ignore[arg-type]  # one band: two numbers
    factor, offset = _stretch(low, high, image.mode, kind)
    if image.mode == "I;16":
        return image.point(lambda value: value * factor).convert("L")
    return image.convert("F").point(lambda value: value * factor + offset).convert("L")


def _stretch(low: float, high: float, mode: str, kind: str) -> tuple[float, float]:
    """(factor, offset) to 0..255 for grey whose range nobody wrote down, from its least and greatest value.

    PNG and HEIC use all 16 bits. A TIFF may hold 10, 12 or 14 bits in 16, 32 or a float, and nothing says so: the fewest
    that hold its greatest value are taken. Floats of 0..1 are that; whatever fits nothing is stretched.
    """
    if mode == "F" and low >= 0 and high <= 1:
        return 255.0, 0.0
    depths = (8, 10, 12, 14, 16) if kind == "tiff" else (16,)
    whites = [white for white in ((1 << bits) - 1 for bits in depths) if high <= white]
    if low >= 0 and whites:
        return 255 / whites[0], 0.0
    factor = 255 / (high - low) if high > low else 0.0
    return factor, -low * factor


def _from_lab(image: Image.Image) -> Image.Image:
    # Before resizing, because Pillow keeps a and b as signed bytes and its filters do not know.
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
    transform = ImageCms.buildTransform(lab, _srgb(), "LAB", "RGB", ImageCms.Intent.RELATIVE_COLORIMETRIC)
    return _applied(transform, image)


@lru_cache(maxsize=1)
def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


@lru_cache(maxsize=8)  # a folder of photos has one or two profiles; building a transform takes milliseconds
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """The way from the profile to sRGB, or None when the profile does not fit the mode, is broken, or changes nothing."""
    colours = mode.removesuffix("A")
    try:
        source = ImageCms.ImageCmsProfile(BytesIO(profile))
        if source.profile.xcolor_space.strip() != _SPACES[mode]:
            return None
        transform = ImageCms.buildTransform(source, _srgb(), colours, "RGB", ImageCms.Intent.RELATIVE_COLORIMETRIC)
        return None if colours == "RGB" and _is_idle(transform) else transform
    except DECODER_ERRORS:
        return None


def _applied(transform: ImageCms.ImageCmsTransform, image: Image.Image) -> Image.Image:
    return transform.apply(image)


def _is_idle(transform: ImageCms.ImageCmsTransform) -> bool:
    """Whether the profile is sRGB under whatever name: on a lattice of colours no value moves by more than 1 of 255.

    Most photos carry such a profile, and converting with it would cost as much as everything else after the decoding.
    """
    steps = bytes(round(255 * step / 8) for step in range(9))
    before = bytes(value for red in steps for green in steps for blue in steps for value in (red, green, blue))
    after = transform.apply(Image.frombytes("RGB", (27, 27), before)).tobytes()
    return all(abs(old - new) <= 1 for old, new in zip(before, after, strict=True))
