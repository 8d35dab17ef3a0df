"""Colour spaces that a file names by number, without a profile (CICP)."""

import io
import random
from typing import Any

import pytest
from PIL import Image

import images
from rendering import picture_of, size
from tasks.source_profile import profile_of

P3, BT2020, BT709 = 12, 9, 1
SRGB, PQ, HLG, LINEAR = 13, 16, 18, 8
COLOUR = (200, 100, 50)
# From linear P3 and BT.2020 to linear sRGB, as published (W3C CSS Color 4, and ITU-R BT.2087 inverted).
TO_SRGB = {
    P3: ((1.2249, -0.2247, 0.0), (-0.0420, 1.0419, 0.0), (-0.0197, -0.0786, 1.0979)),
    BT2020: ((1.6605, -0.5876, -0.0728), (-0.1246, 1.1329, -0.0083), (-0.0182, -0.1006, 1.1187)),
}


def numbered(kind: str, primaries: int, transfer: int, colour: Any = COLOUR, **options: Any) -> bytes:
    """A file of one colour that names its colour space by these numbers."""
    picture = Image.new("RGB", (64, 48), colour)
    best: dict[str, dict[str, Any]] = {
        "avif": {"quality": 100, "subsampling": "4:4:4"},
        "heic": {"quality": -1, "chroma": 444},
    }
    content = images.encoded(picture, kind, **best.get(kind, {}), **options)
    if kind in best:
        at = content.index(b"nclx") + 4
        return content[:at] + primaries.to_bytes(2, "big") + transfer.to_bytes(2, "big") + content[at + 4 :]
    return content[:33] + images.png_chunk(b"cICP", bytes((primaries, transfer, 0, 1))) + content[33:]


def shown(content: bytes) -> Any:
    return picture_of(content, size(32, 32)).convert("RGB").getpixel((15, 10))


def by_the_book(primaries: int) -> tuple[int, ...]:
    linear = [(value / 255 + 0.055) ** 2.4 / 1.055**2.4 for value in COLOUR]
    lights = (sum(a * b for a, b in zip(row, linear, strict=True)) for row in TO_SRGB[primaries])
    return tuple(round(255 * (1.055 * max(light, 0) ** (1 / 2.4) - 0.055)) for light in lights)


@pytest.mark.parametrize("kind", ["png", "avif", "heic"])
@pytest.mark.parametrize("primaries", [P3, BT2020])
def test_wide_colours_named_by_number_become_srgb(kind: str, primaries: int) -> None:
    found = shown(numbered(kind, primaries, SRGB))
    assert all(abs(a - b) <= 4 for a, b in zip(found, by_the_book(primaries), strict=True)), found


@pytest.mark.parametrize(
    ("kind", "primaries", "transfer"),
    [
        (kind, *numbers)
        for kind in ("png", "avif", "heic")
        for numbers in ((BT709, SRGB), (BT709, 1), (2, 2), (BT709, 6))
    ]
    + [(kind, *numbers) for kind in ("png", "avif") for numbers in ((77, SRGB), (BT709, 99))],  # libheif refuses these
)
def test_srgb_and_numbers_that_nobody_knows_change_nothing(kind: str, primaries: int, transfer: int) -> None:
    found = shown(numbered(kind, primaries, transfer))
    assert all(abs(a - b) <= 3 for a, b in zip(found, COLOUR, strict=True)), found


@pytest.mark.parametrize("kind", ["png", "avif", "heic"])
@pytest.mark.parametrize(("transfer", "paper"), [(PQ, 148), (HLG, 191)])
def test_hdr_is_neither_black_nor_white_nor_grey(kind: str, transfer: int, paper: int) -> None:
    white, half, black = (shown(numbered(kind, BT2020, transfer, (value,) * 3)) for value in (paper, paper // 2, 0))
    assert all(185 <= value <= 197 for value in white)  # 203 cd/m2: the white of paper
    assert all(10 <= value <= 100 for value in half)
    assert max(black) <= 3
    assert max(white) - min(white) <= 3


def test_linear_light_is_brightened() -> None:
    assert all(abs(value - 188) <= 2 for value in shown(numbered("png", BT709, LINEAR, (128, 128, 128))))


def test_in_a_png_the_numbers_go_before_a_profile_and_in_an_avif_after_it() -> None:
    swapped = images.icc_profile(order="brg")
    png = shown(numbered("png", P3, SRGB, icc_profile=swapped))
    assert all(abs(a - b) <= 4 for a, b in zip(png, by_the_book(P3), strict=True)), png
    avif = shown(images.encoded(Image.new("RGB", (64, 48), (250, 10, 10)), "avif", quality=100, icc_profile=swapped))
    assert avif[2] > 200, avif


def test_grey_has_no_use_for_primaries() -> None:
    content = images.encoded(Image.new("L", (64, 48), 100), "png")
    content = content[:33] + images.png_chunk(b"cICP", bytes((P3, SRGB, 0, 1))) + content[33:]
    assert abs(shown(content)[0] - 100) <= 1


@pytest.mark.parametrize("kind", ["png", "avif", "heic"])
def test_lies_around_the_numbers_never_raise(kind: str) -> None:
    content, chance = numbered(kind, P3, SRGB), random.Random(4)
    for _ in range(500):
        lie = bytearray(content[: chance.choice((60, 300, len(content)))])
        for _ in range(chance.randrange(1, 9)):
            at = chance.randrange(min(len(lie), 400))
            lie[at : at + 8] = chance.choice((bytes(8), b"\xff" * 8, chance.randbytes(1)))
        found = profile_of(None, io.BytesIO(bytes(lie)), kind)
        assert found is None or found[36:40] == b"acsp"
