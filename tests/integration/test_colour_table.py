"""Colours by table: what littlecms would have made of them, and greys untouched."""

import io
import math

import pytest
from PIL import Image, ImageChops, ImageCms, ImageStat

import images
from tasks.colour import to_srgb
from tasks.colour_table import MIN_PIXELS, apply_by_table

WIDE = images.icc_profile(gamma=1.8)


def transform(profile: bytes) -> ImageCms.ImageCmsTransform:
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    srgb = ImageCms.createProfile("sRGB")
    return ImageCms.buildTransform(source, srgb, "RGB", "RGB", ImageCms.Intent.RELATIVE_COLORIMETRIC)


def decibels(one: Image.Image, other: Image.Image) -> float:
    squares = ImageStat.Stat(ImageChops.difference(one, other)).sum2
    return 10 * math.log10(255 * 255 * 3 * one.width * one.height / max(1.0, sum(squares)))


@pytest.mark.parametrize("profile", [WIDE, images.icc_profile(gamma=2.2), images.icc_profile(gamma=2.6)])
def test_the_table_gives_what_littlecms_gives(profile: bytes) -> None:
    picture, exact = images.photo(1000, 700), transform(profile)
    assert decibels(apply_by_table(exact, picture), exact.apply(picture)) > 50


def test_extremes_do_not_wrap_around() -> None:
    exact = transform(WIDE)
    for colour in ((255, 255, 255), (0, 0, 0), (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (3, 252, 128)):
        picture = Image.new("RGB", (8, 8), colour)
        made, wanted = (way.getpixel((4, 4)) for way in (apply_by_table(exact, picture), exact.apply(picture)))
        assert all(abs(one - other) <= 8 for one, other in zip(made, wanted, strict=True)), colour  # type: ignore[arg-type]


def test_only_the_size_decides_which_way_is_taken() -> None:
    small, large = images.photo(300, 200), images.photo(1000, 700)
    assert small.width * small.height < MIN_PIXELS <= large.width * large.height
    first = to_srgb(large, WIDE).tobytes()
    assert to_srgb(small, WIDE).tobytes() == transform(WIDE).apply(small).tobytes()
    assert to_srgb(large, WIDE).tobytes() == first == apply_by_table(transform(WIDE), large).tobytes()
