from pathlib import Path

import pytest
from PIL import Image, ImageChops, ImageStat

import images
from rendering import opened, picture_of, rendered, size

# What Pillow writes an orientation into; HEIC is turned by its writer's own boxes.
TAGGED = ("jpeg", "png", "webp", "tiff", "avif", "heic")


@pytest.mark.parametrize("kind", TAGGED)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_comes_out_upright_exactly_once(kind: str, orientation: int) -> None:
    found = rendered(images.oriented(images.photo(240, 160), orientation, kind), size(60, 60), size(40, 20, "cover"))
    assert (found.facts.width, found.facts.height) == (240, 160)
    assert [(made.width, made.height) for made in found.renditions] == [(60, 40), (40, 20)]
    for made in found.renditions:
        picture = opened(made)
        assert picture.size == (made.width, made.height)
        assert picture.getexif() == {}
    assert images.corners_of(opened(found.renditions[0])) == images.UPRIGHT


@pytest.mark.parametrize("orientation", range(2, 9))
def test_a_turned_picture_has_the_pixels_of_the_upright_one(orientation: int) -> None:
    picture = images.photo(401, 300)
    upright, turned = (picture_of(images.oriented(picture, n, "png"), size(90, 70)) for n in (1, orientation))
    assert turned.size == upright.size == (90, 67)
    assert _difference(upright, turned) < 0.2


@pytest.mark.parametrize("orientation", [0, 9, 255])
def test_an_orientation_that_is_none_means_upright(orientation: int) -> None:
    found = rendered(images.encoded(images.photo(), exif=images.exif(orientation=orientation)))
    assert found.facts.orientation == 1
    assert images.corners_of(opened(found.renditions[0])) == images.UPRIGHT


def test_a_tiff_that_writes_its_orientation_as_a_byte_is_turned_too() -> None:
    written = images.tiff_with({274: (1, 1, 6)})
    upright, turned = (picture_of(content, size(4, 4)) for content in (images.tiff_with({}), written))
    assert turned.tobytes() == upright.transpose(Image.Transpose.ROTATE_270).tobytes() != upright.tobytes()
    assert rendered(written).facts.orientation == 6


def test_garbage_for_exif_does_not_cost_the_picture() -> None:
    for kind in ("jpeg", "png", "webp"):
        found = rendered(images.image_bytes(kind, exif=b"Exif\0\0II*\0\xff\xff\xff\xff" + bytes(range(200))))
        assert images.corners_of(opened(found.renditions[0])) == images.UPRIGHT


def test_boxes_are_meant_for_the_upright_picture() -> None:
    found = rendered(images.oriented(images.photo(160, 240), 6), size(100, 60), size(100, 60, "cover"))
    assert [(made.width, made.height) for made in found.renditions] == [(40, 60), (100, 60)]


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_a_large_jpeg_that_is_decoded_smaller_is_upright_too(orientation: int) -> None:
    content = images.oriented(images.photo(1603, 1201), orientation)
    found = rendered(content, size(200, 100), size(50, 50, "cover"))
    assert (found.facts.width, found.facts.height) == (1603, 1201)
    assert [(made.width, made.height) for made in found.renditions] == [(133, 100), (50, 50)]
    assert images.corners_of(opened(found.renditions[0])) == images.UPRIGHT


@pytest.mark.parametrize("shape", ["Landscape", "Portrait"])
def test_the_eight_ways_to_hold_a_camera_give_one_picture(corpus: Path, shape: str) -> None:
    folder = corpus / "exif-orientation-examples"
    made = [picture_of((folder / f"{shape}_{n}.jpg").read_bytes(), size(180, 180)) for n in range(9)]
    wide = (180, 120) if shape == "Landscape" else (120, 180)
    assert {picture.size for picture in made} == {wide}
    for n, picture in enumerate(made):
        assert _difference(made[1], picture) < 2, f"{shape}_{n}"


def _difference(one: Image.Image, other: Image.Image) -> float:
    """Mean difference of a channel, of 255."""
    means = ImageStat.Stat(ImageChops.difference(one.convert("RGB"), other.convert("RGB"))).mean
    return sum(means) / len(means)
