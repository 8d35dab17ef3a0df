"""Which picture of a file that holds several is shown."""

import io
from typing import Any

import pytest
from PIL import Image, MpoImagePlugin, TiffImagePlugin  # noqa: F401  # else Pillow would load every plugin it has, to find this writer

import images
from rendering import picture_of, rendered, size

BLANK, CLEAR = (250, 250, 250), (0, 0, 0, 0)
ANIMATED = ("gif", "webp", "png", "avif")


def canvas(colour: Any, width: int = 60, height: int = 40) -> Image.Image:
    return Image.new("RGB" if len(colour) == 3 else "RGBA", (width, height), colour)


def shown(content: bytes) -> Image.Image:
    return picture_of(content, size(60, 60))


@pytest.mark.parametrize("kind", ANIMATED)
@pytest.mark.parametrize("blanks", [1, 9])
def test_of_an_animation_the_first_frame_that_shows_something_is_taken(kind: str, blanks: int) -> None:
    # Blanks that differ a little, because writers merge frames that are equal.
    first = [canvas((250 - n, 250, 250)) for n in range(blanks)]
    content = images.animation(kind, *first, images.photo(60, 40), canvas((0, 0, 0)))
    assert images.corners_of(shown(content)) == images.UPRIGHT


@pytest.mark.parametrize("kind", ANIMATED)
def test_only_the_first_ten_frames_are_looked_at(kind: str) -> None:
    first = [canvas((250 - 5 * n, 250, 250)) for n in range(10)]
    content = images.animation(kind, *first, images.photo(60, 40))
    assert near(shown(content), first[0])


@pytest.mark.parametrize("kind", ANIMATED)
def test_a_first_frame_that_shows_something_is_taken(kind: str) -> None:
    content = images.animation(kind, images.photo(60, 40), canvas((0, 0, 0)))
    assert images.corners_of(shown(content)) == images.UPRIGHT


@pytest.mark.parametrize("kind", ["webp", "png"])
def test_of_nothing_but_blank_frames_the_first_that_is_not_transparent_is_taken(kind: str) -> None:
    content = images.animation(kind, canvas(CLEAR), canvas((200, 0, 0, 255)), canvas((0, 0, 200, 255)))
    assert shown(content).convert("RGB").getpixel((30, 20))[0] > 190  # type: ignore[index]
    only = images.animation(kind, canvas((200, 0, 0)), canvas((0, 0, 200)))
    assert shown(only).convert("RGB").getpixel((30, 20))[0] > 190  # type: ignore[index]


def test_large_canvases_are_not_looked_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.frames.MAX_LOOK_PIXELS", 60 * 40 * 2 - 1)
    content = images.animation("gif", canvas(BLANK), images.photo(60, 40))
    assert near(shown(content), canvas(BLANK))


def test_a_damaged_later_frame_does_not_cost_the_first() -> None:
    content = bytearray(images.animation("png", canvas(BLANK), images.photo(60, 40)))
    at = len(content) * 2 // 3
    content[at : at + 200] = bytes(byte ^ 0x55 for byte in content[at : at + 200])
    assert near(shown(bytes(content)), canvas(BLANK))


def test_a_later_frame_that_is_a_bomb_does_not_cost_the_first() -> None:
    content = bytearray(images.animation("gif", canvas(BLANK), images.photo(60, 40)))
    at = content.rindex(b",\0\0\0\0")
    content[at + 5 : at + 9] = b"\xff\xff\xff\xff"  # 4295 MP
    assert near(shown(bytes(content)), canvas(BLANK))


def apng(*, sequence: tuple[int, ...] = (0, 1, 2), frames: int = 2) -> bytes:
    """An APNG whose default image is its first frame, with the sequence numbers that are given."""
    content = images.animation("png", images.photo(60, 40), canvas((0, 0, 0)))
    wrong = iter(sequence)
    made, at = content[:8], 8
    while at < len(content):
        length, name = int.from_bytes(content[at : at + 4], "big"), content[at + 4 : at + 8]
        body = content[at + 8 : at + 8 + length]
        if name in (b"fcTL", b"fdAT"):
            body = next(wrong).to_bytes(4, "big") + body[4:]
        if name == b"acTL":
            body = frames.to_bytes(4, "big") + body[4:]
        made, at = made + images.png_chunk(name, body), at + 12 + length
    return made


@pytest.mark.parametrize("sequence", [(0, 1, 2), (1, 2, 3), (7, 7, 7), (2, 1, 0)])
@pytest.mark.parametrize("frames", [2, 0, 1, 2**31 + 5, 2**32 - 1])
def test_a_broken_animation_still_gives_the_picture_of_its_png(sequence: tuple[int, ...], frames: int) -> None:
    found = rendered(apng(sequence=sequence, frames=frames), size(60, 60))
    assert found.facts.frames == (2 if frames == 2 else 1)
    assert images.corners_of(shown(apng(sequence=sequence, frames=frames))) == images.UPRIGHT


def test_what_a_first_gif_frame_does_not_cover_is_transparent() -> None:
    picture = Image.new("P", (20, 20), 1)
    picture.putpalette([0, 0, 255, 255, 0, 0])
    content = bytearray(images.encoded(picture, "gif"))
    content[6:10] = (40).to_bytes(2, "little") + (30).to_bytes(2, "little")  # a larger canvas
    made = picture_of(bytes(content), size(60, 60))
    assert made.getpixel((10, 10)) == (255, 0, 0, 255)
    assert made.getpixel((30, 25))[3] == 0  # type: ignore[index]


def test_of_a_photo_with_further_pictures_behind_it_the_first_is_shown() -> None:
    second = images.encoded(canvas((0, 0, 0)))
    extras = {
        "several pictures": images.encoded(
            images.photo(60, 40), "MPO", save_all=True, append_images=[canvas((0, 0, 0))]
        ),
        "gain map": images.image_bytes("jpeg", 60, 40) + second,
        "motion": images.image_bytes("jpeg", 60, 40) + b"\0\0\0\x18ftypmp42" + bytes(5000),
    }
    for name, content in extras.items():
        found = rendered(content, size(60, 60))
        assert (found.facts.format, found.facts.frames, found.facts.width) == ("jpeg", 1, 60), name
        assert images.corners_of(shown(content)) == images.UPRIGHT, name


@pytest.mark.parametrize("previews", [1, 2])
def test_of_a_tiff_that_begins_with_a_preview_the_picture_is_shown(previews: int) -> None:
    small = images.photo(30, 20).rotate(180)
    made = io.BytesIO()
    with TiffImagePlugin.AppendingTiffWriter(made) as pages:
        for picture, reduced in [(small, 1)] * previews + [(images.photo(60, 40), 0), (canvas((0, 0, 0)), 0)]:
            picture.save(pages, "tiff", tiffinfo={254: reduced})
            pages.newFrame()
    found = rendered(made.getvalue(), size(60, 60))
    assert (found.facts.width, found.facts.height, found.facts.frames) == (60, 40, 1)
    assert images.corners_of(shown(made.getvalue())) == images.UPRIGHT


def test_of_a_tiff_of_nothing_but_previews_the_first_is_shown() -> None:
    content = images.encoded(images.photo(60, 40), "tiff", tiffinfo={254: 1})
    assert images.corners_of(shown(content)) == images.UPRIGHT


def near(found: Image.Image, wanted: Image.Image) -> bool:
    pairs = zip(found.convert("RGB").getpixel((5, 5)), wanted.convert("RGB").getpixel((5, 5)), strict=True)  # type: ignore[arg-type]
    return all(abs(a - b) <= 3 for a, b in pairs)
