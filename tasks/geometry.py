"""Decide how large each thumbnail is and what part of the picture it shows: arithmetic on (width, height) in pixels.

Pure. Everything is computed for the upright picture, because boxes are meant for what people see; `stored` swaps a size
for pixels that still lie on their side.
"""

from math import floor

from tasks.recipe import WantedSize

Size = tuple[int, int]

# How many times the largest thumbnail a JPEG is decoded at least, when it is divided by that; without fitted tables
# (tasks/jpeg_tables.py) a half loses more.
_LEAST_RATIOS = {8: 3.0, 4: 3.0, 2: 1.56}
_LEAST_UNFITTED_RATIO = 2.0

SIDEWAYS = range(5, 9)  # EXIF orientations whose rows are columns (EXIF 2.32, 4.6.4, tag 274)


def rounded(length: float) -> int:
    """Round half up, and never to nothing: `round` would take 266.5 to 266 one time and 267.5 to 268 the other."""
    return max(1, floor(length + 0.5))


def stored(size: Size, orientation: int) -> Size:
    """The size of the pixels as they are stored, from the size of the upright picture (and the other way round)."""
    return size[::-1] if orientation in SIDEWAYS else size


def scale_of(source: Size, wanted: WantedSize) -> float:
    """The factor from source to thumbnail: `contain` fits inside the box, `cover` fills it; never above 1."""
    ratios = wanted.width / source[0], wanted.height / source[1]
    return min(1.0, max(ratios) if wanted.fit == "cover" else min(ratios))


def decode_divisor(full: Size, largest: Size, *, fitted: bool) -> int:
    """By how much a JPEG may be divided while it is decoded (1, 2, 4 or 8) when that is the largest thumbnail of it.

    A decoder divides by averaging blocks, which dims what is finest; that must lie well beyond what the thumbnail can
    show. The ratios keep every photo that was tried above 45 dB, most above 50, against LANCZOS from the full size.
    `fitted` says that the decoder gets tables for that (tasks/jpeg_tables.py), as it does for grey and RGB.
    """
    for divisor, least_ratio in _LEAST_RATIOS.items():
        ratio = least_ratio if fitted else max(least_ratio, _LEAST_UNFITTED_RATIO)
        if all(have >= divisor * ratio * want for have, want in zip(full, largest, strict=True)):
            return divisor
    return 1


def whole_size(source: Size, wanted: WantedSize) -> Size:
    """The size of the whole picture, scaled for that thumbnail but not yet cropped."""
    scale = scale_of(source, wanted)
    return rounded(source[0] * scale), rounded(source[1] * scale)


def final_size(source: Size, wanted: WantedSize) -> Size:
    """The size of the thumbnail.

    `cover` gives exactly the box. Where the source is narrower or lower than the box it is not enlarged: the thumbnail is
    then the largest part of it that has the box's aspect (300x100 covering 200x200 gives 100x100).
    """
    whole = whole_size(source, wanted)
    if wanted.fit == "contain":
        return whole
    shrink = min(1.0, whole[0] / wanted.width, whole[1] / wanted.height)
    # A side that was rounded down by half a pixel is still the box's.
    return min(whole[0], rounded(wanted.width * shrink)), min(whole[1], rounded(wanted.height * shrink))


def centred(whole: Size, final: Size) -> tuple[int, int, int, int]:
    """The box (left, upper, right, lower) that cuts `final` out of the middle of `whole`."""
    left, upper = (whole[0] - final[0]) // 2, (whole[1] - final[1]) // 2
    return left, upper, left + final[0], upper + final[1]
