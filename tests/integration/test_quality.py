"""How good thumbnails are: against LANCZOS in one step from the full decode, at every size, on real photos and on a hard one."""

import io
import math
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
from PIL import Image, ImageChops, ImageCms, ImageStat

import images
from rendering import opened, rendered, size
from tasks.jpeg_strict import decode_strictly
from tasks.resample import shrink

LEAST_MEAN, LEAST = 50.0, 45.0
# The corpus's camera photos; the first two are what phones make today, 12 MP, one of them with Display P3.
PHOTOS = (
    "jpeg-test-images/012mp-bus.jpg",
    "image-rs/examples/scaledown/test.jpg",
    "jpeg-test-images/006mp-cathedral.jpg",
    "pillow/Tests/images/xmp_test.jpg",
)
# Together in one recipe, as they are made: large ones first, each from one before that is large enough.
RECIPES = (
    (1280, 640, 200),
    (1600, 800),
    (400, 160),
    (1000,),
    (500,),
    (330, 100),
    (1000, 940, 500, 470, 300),
    (130, 120, 100),
)


def decibels(one: Image.Image, other: Image.Image) -> float:
    """The peak signal-to-noise ratio of two pictures of the same size."""
    squares = ImageStat.Stat(ImageChops.difference(one.convert("RGB"), other.convert("RGB"))).sum2
    return 10 * math.log10(255 * 255 * 3 * one.width * one.height / max(1.0, sum(squares)))


def best(full: Image.Image, wanted: tuple[int, int]) -> Image.Image:
    """What a thumbnail should be: one step from all pixels, then its colours."""
    small = full.resize(wanted, Image.Resampling.LANCZOS)
    profile = full.info.get("icc_profile")
    if not profile:
        return small
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    srgb = ImageCms.createProfile("sRGB")
    made = ImageCms.profileToProfile(small, source, srgb, ImageCms.Intent.RELATIVE_COLORIMETRIC, "RGB")
    assert made is not None
    return made


def qualities(content: bytes, recipe: tuple[int, ...]) -> list[float]:
    """The decibels of each size of the recipe."""
    full = Image.open(io.BytesIO(content))
    full.load()
    found = rendered(content, *(size(side, side) for side in recipe))
    return [decibels(opened(made), best(full, (made.width, made.height))) for made in found.renditions]


@pytest.mark.parametrize("recipe", RECIPES, ids=str)
def test_photos_are_as_good_as_lanczos_from_the_full_size(corpus: Path, recipe: tuple[int, ...]) -> None:
    found = [qualities((corpus / name).read_bytes(), recipe) for name in PHOTOS]
    for side, measured in zip(recipe, zip(*found, strict=True), strict=True):
        assert min(measured) >= LEAST, (side, measured)
        assert sum(measured) / len(measured) >= LEAST_MEAN, (side, measured)


def detailed(width: int, height: int, grain: int) -> Image.Image:
    """A photo under noise whose grains are so many pixels wide."""
    noise = Image.effect_noise((width // grain, height // grain), 60).resize((width, height), Image.Resampling.BICUBIC)
    return Image.blend(images.photo(width, height), noise.convert("RGB"), 0.3)


@pytest.mark.parametrize("subsampling", [0, 2], ids=["4:4:4", "4:2:0"])
@pytest.mark.parametrize("side", [630, 512, 400, 399, 266, 200, 130, 66])
def test_fine_detail_is_as_good_as_lanczos_from_the_full_size(side: int, subsampling: int) -> None:
    # Harder than photos: edges everywhere, finer than what can be shown.
    content = images.encoded(detailed(1600, 1200, 2), "jpeg", quality=92, subsampling=subsampling)
    assert min(qualities(content, (side,))) >= LEAST


@pytest.mark.parametrize("subsampling", ["420", "422", "411"])
@pytest.mark.parametrize("side", [512, 250, 120])
def test_colours_are_as_good_however_few_samples_the_jpeg_has_of_them(side: int, subsampling: str) -> None:
    across, down = np.meshgrid(np.arange(1600), np.arange(1200))
    waves = (np.sin(across / 17 + down / 29), np.sin(down / 11), np.cos((across + down) / 23))
    chart = np.stack([128 + 90 * wave for wave in waves], axis=-1).astype(np.uint8)
    assert (
        min(qualities(simplejpeg.encode_jpeg(chart, quality=92, colorsubsampling=subsampling), (side,))) >= LEAST_MEAN
    )


def half_decoded(content: bytes, wanted: tuple[int, int], *, divisor: int) -> Image.Image:
    """That size of a JPEG of 1600x1200, from a half of it."""
    half = decode_strictly(io.BytesIO(content), len(content), "RGB", (800, 600), divisor=divisor)
    assert half is not None
    return shrink(half, wanted)


@pytest.mark.parametrize("options", [{"subsampling": 0}, {"subsampling": 1}, {"subsampling": 2}, {"progressive": True}])
def test_half_a_jpeg_shows_detail_better_for_its_fitted_tables(options: dict[str, int]) -> None:
    content = images.encoded(detailed(1600, 1200, 1), "jpeg", quality=80, **options)
    wanted = best(Image.open(io.BytesIO(content)), (512, 384))
    fitted, plain = (decibels(half_decoded(content, wanted.size, divisor=part), wanted) for part in (2, 1))
    assert fitted > plain + 2


@pytest.mark.parametrize("side", [266, 160, 100])
def test_what_a_decoder_cannot_divide_evenly_is_not_stretched(side: int) -> None:
    content = images.encoded(detailed(1601, 101, 8), "jpeg", quality=92)
    assert min(qualities(content, (side,))) >= LEAST


def test_a_jpeg_that_is_not_shrunk_keeps_the_pixels_of_an_ordinary_decoder() -> None:
    content = images.encoded(images.photo(640, 480), "jpeg", quality=92, subsampling=2)
    full = Image.open(io.BytesIO(content))
    for side in (640, 2000):
        assert opened(rendered(content, size(side, side)).renditions[0]).tobytes() == full.tobytes()
