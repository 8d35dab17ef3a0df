import io
import struct
from typing import Any

import pytest
from PIL import Image

import images
from raws import tiff_in_planes
from rendering import picture_of, size

RED, BLUE = (250, 10, 10), (10, 10, 250)


def flat(colour: Any, mode: str = "RGB") -> Image.Image:
    return Image.new(mode, (60, 40), colour)


def colour_of(content: bytes, **options: Any) -> Any:
    picture = picture_of(content, size(30, 30), **options)
    return picture.getpixel((picture.width // 2, picture.height // 2))


def near(found: Any, wanted: Any, within: int = 4) -> bool:
    pairs = zip(found, wanted, strict=True) if isinstance(found, tuple) else ((found, wanted),)
    return all(abs(a - b) <= within for a, b in pairs)


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp", "tiff", "avif", "heic"])
def test_a_profile_is_converted_to_srgb(kind: str) -> None:
    swapped = images.icc_profile(order="brg")
    found = colour_of(images.encoded(flat(RED), kind, icc_profile=swapped))
    assert near(found, BLUE, 20), found


def test_a_grey_profile_is_converted_to_srgb() -> None:
    linear = images.icc_profile("GRAY", gamma=1.0)
    assert near(colour_of(images.encoded(flat(55, "L"), "png", icc_profile=linear)), 128, 3)


@pytest.mark.parametrize(
    "profile", [b"", b"garbage", images.icc_profile()[:150], images.icc_profile() + bytes(5 << 20)]
)
def test_a_broken_or_huge_profile_is_ignored(profile: bytes) -> None:
    assert near(colour_of(images.encoded(flat(RED), "png", icc_profile=profile)), RED)


def test_a_profile_for_other_pixels_is_ignored() -> None:
    assert near(colour_of(images.encoded(flat(100, "L"), "png", icc_profile=images.icc_profile(order="brg"))), 100)
    assert near(colour_of(images.encoded(flat(RED), "png", icc_profile=images.icc_profile("GRAY"))), RED)


def test_alpha_survives_a_profile() -> None:
    content = images.encoded(flat((*RED, 128), "RGBA"), "png", icc_profile=images.icc_profile(order="brg"))
    assert near(colour_of(content), (*BLUE, 128), 20)


@pytest.mark.parametrize("kind", ["png", "tiff"])
def test_grey_of_16_bits_is_neither_white_nor_black(kind: str) -> None:
    picture = picture_of(images.encoded(images.grey_16(), kind), size(64, 64))
    assert picture.mode == "L"
    values = [picture.getpixel((32, y)) for y in (0, 16, 32, 48, 63)]
    assert near(tuple(values), (0, 64, 129, 194, 255), 3)


def test_grey_of_16_bits_in_a_dark_png_stays_dark() -> None:
    assert near(colour_of(images.encoded(Image.new("I;16", (60, 40), 2570), "png")), 10)


def test_12_bits_in_a_16_bit_tiff_are_scaled_by_their_own_range() -> None:
    picture = images.grey_16().convert("I").point(lambda value: value * (1 / 16)).convert("I;16")
    made = picture_of(images.encoded(picture, "tiff"), size(64, 64))
    assert near((made.getpixel((32, 0)), made.getpixel((32, 32)), made.getpixel((32, 63))), (0, 129, 255), 3)


@pytest.mark.parametrize(("value", "grey"), [(0.5, 127), (100.0, 100), (257.0 * 200, 200)])
def test_a_float_tiff_is_scaled_by_what_its_values_look_like(value: float, grey: int) -> None:
    picture = Image.new("F", (60, 40), value)
    for x in range(60):  # the first row shows the range: 0..1, 0..255 or 0..65535
        picture.putpixel((x, 0), {0.5: 1.0, 100.0: 255.0}.get(value, 65535.0))
    made = picture_of(images.encoded(picture, "tiff"), size(60, 60))
    assert near(made.getpixel((30, 30)), grey, 3)


@pytest.mark.parametrize(("mode", "value"), [("1", 1), ("L", 200), ("LA", (200, 255)), ("I;16", 51400), ("I", 51400)])
def test_every_grey_mode_comes_out_as_grey(mode: str, value: Any) -> None:
    found = colour_of(images.encoded(flat(value, mode), "tiff" if mode == "I" else "png"))
    wanted = 255 if mode == "1" else 200
    assert near(found, wanted if isinstance(found, int) else (wanted,) * 3)


def test_a_bilevel_scan_is_smoothed_when_it_is_shrunk() -> None:
    stripes = Image.frombytes("1", (64, 64), b"\xaa" * 512)
    assert near(picture_of(images.encoded(stripes, "png"), size(16, 16)).getpixel((8, 8)), 127, 8)


def test_a_palette_picture_is_smoothed_when_it_is_shrunk() -> None:
    stripes = Image.new("P", (64, 64))
    stripes.putpalette([255, 0, 0, 0, 0, 255])
    stripes.putdata([x % 2 for _ in range(64) for x in range(64)])
    assert near(
        picture_of(images.encoded(stripes, "gif"), size(16, 16)).convert("RGB").getpixel((8, 8)), (127, 0, 127), 8
    )


def test_cmyk_becomes_rgb_the_right_way_round() -> None:
    cmyk = flat((0, 255, 255, 0), "CMYK")
    for kind in ("jpeg", "tiff"):
        assert near(colour_of(images.encoded(cmyk, kind)), (255, 0, 0), 6), kind


def test_lab_becomes_rgb() -> None:
    assert near(colour_of(images.encoded(flat((128, 128, 128), "LAB"), "tiff")), (119, 119, 119), 3)


def test_transparency_is_laid_on_the_background_where_the_output_has_none() -> None:
    clear = images.encoded(flat((255, 0, 0, 0), "RGBA"), "png")
    made = picture_of(clear, size(30, 30, kind="jpeg"), background=(10, 200, 30))
    assert made.mode == "RGB"
    assert near(made.getpixel((10, 10)), (10, 200, 30))


@pytest.mark.parametrize("kind", ["png", "webp", "avif"])
def test_transparency_is_kept_where_the_output_has_it(kind: Any) -> None:
    made = picture_of(images.encoded(flat((200, 100, 50, 128), "RGBA"), "png"), size(30, 30, kind=kind))
    assert near(made.getpixel((10, 10)), (200, 100, 50, 128), 6)


@pytest.mark.parametrize("mode", ["P", "L", "RGB"])
def test_a_transparent_colour_is_transparency(mode: str) -> None:
    value: Any = (1, 2, 3) if mode == "RGB" else 1
    picture = flat(value, mode)
    if mode == "P":
        picture.putpalette([255, 0, 0, 0, 0, 255])
    content = images.encoded(picture, "png", transparency=value)
    made = picture_of(content, size(30, 30, kind="jpeg"), background=(10, 200, 30))
    assert near(made.getpixel((10, 10)), (10, 200, 30))


@pytest.mark.parametrize(
    ("bits", "colour_type", "row", "clear"),
    [
        (1, 0, b"\xf0", (1,)),
        (2, 0, b"\xaa\x55", (2,)),
        (4, 0, b"\x77\x77\xcc\xcc", (7,)),
        (4, 0, b"\x77\x77\xcc\xcc", (0x17,)),  # bits that no sample has do not count (PNG 3, 11.3.1.1)
        (8, 0, b"\x77" * 4 + b"\xcc" * 4, (0x77,)),
        (8, 2, b"\x77\x88\x99" * 4 + b"\xcc" * 12, (0x77, 0x88, 0x99)),
        (16, 2, b"\x77\x12\x88\x34\x99\x56" * 4 + b"\xcc" * 24, (0x7712, 0x8834, 0x9956)),
    ],
)
def test_a_transparent_colour_is_found_whatever_bits_a_png_has(
    bits: int, colour_type: int, row: bytes, clear: tuple[int, ...]
) -> None:
    content = images.png_from(8, bits, colour_type, [row] * 4, {b"tRNS": struct.pack(f">{len(clear)}H", *clear)})
    made = picture_of(content, size(8, 8))
    assert [made.getpixel(at)[3] for at in ((1, 1), (6, 2))] == [0, 255]  # type: ignore[index]


@pytest.mark.parametrize(("alphas", "seen"), [(b"\0\xff", 0), (b"\0", 0), (b"\0\xff\xff", 255)])
def test_more_transparent_colours_than_a_palette_has_mean_nothing(alphas: bytes, seen: int) -> None:
    chunks = {b"PLTE": b"\xff\0\0\0\0\xff", b"tRNS": alphas}
    made = picture_of(images.png_from(8, 8, 3, [bytes(4) + b"\1" * 4] * 4, chunks), size(8, 8)).convert("RGBA")
    assert [made.getpixel(at) for at in ((1, 1), (6, 2))] == [(255, 0, 0, seen), (0, 0, 255, 255)]


def test_a_transparent_colour_that_is_named_after_the_pixels_comes_too_late() -> None:
    content = images.png_from(8, 8, 0, [bytes(8)] * 8, {})
    late = content[:-12] + images.png_chunk(b"tRNS", b"\0\0") + content[-12:]
    assert picture_of(late, size(8, 8)).mode in ("L", "RGB")


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("compression", [1, 8])
@pytest.mark.parametrize(("bits", "photometric"), [(8, 2), (16, 2), (8, 5), (16, 5)])
def test_a_tiff_in_separate_planes_is_read_as_one(order: str, compression: int, bits: int, photometric: int) -> None:
    samples = (200, 100, 50) if photometric == 2 else (55, 155, 205, 0)
    content = tiff_in_planes(samples, order=order, compression=compression, bits=bits, photometric=photometric)
    assert near(colour_of(content), (200, 100, 50))


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize(("bits", "photometric", "sample"), [(8, 1, 200), (8, 0, 55), (16, 1, 200)])
def test_one_sample_is_no_plane(order: str, bits: int, photometric: int, sample: int) -> None:
    content = tiff_in_planes([sample], order=order, compression=1, bits=bits, photometric=photometric)
    assert near(colour_of(content), 200)


@pytest.mark.parametrize("scale", [1, 257])
def test_a_tiff_with_a_colour_map_of_8_or_16_bits_has_its_colours(scale: int) -> None:
    picture = flat(1, "P")
    picture.putpalette([0, 0, 255, 200, 100, 50])
    content = images.encoded(picture, "tiff")
    with Image.open(io.BytesIO(content)) as written:
        colours: tuple[int, ...] = written.tag_v2[320]  # type: ignore[attr-defined]
    wanted = [scale * (colour >> 8) for colour in colours]
    content = content.replace(struct.pack("<768H", *colours), struct.pack("<768H", *wanted))
    assert near(colour_of(content), (200, 100, 50))


def test_an_alpha_channel_that_hides_nothing_is_dropped() -> None:
    assert picture_of(images.encoded(flat((200, 100, 50, 255), "RGBA"), "png")).mode == "RGB"


def test_hidden_colours_do_not_bleed_into_the_edge() -> None:
    picture = Image.new("RGBA", (64, 64), (255, 0, 0, 0))
    picture.paste((0, 0, 255, 255), (32, 0, 64, 64))
    made = picture_of(images.encoded(picture, "png"), size(17, 17, kind="jpeg", quality=100), background=(0, 0, 255))
    assert max(made.getchannel("R").tobytes()) < 12


def test_the_transparent_value_of_16_bit_grey_is_transparent() -> None:
    picture = images.grey_16()
    picture.paste(257, (0, 0, 32, 64))
    made = picture_of(images.encoded(picture, "png", transparency=257), size(64, 64))
    assert made.mode == "RGBA"
    assert made.getpixel((10, 40))[3] == 0  # type: ignore[index]
    assert near(made.getpixel((50, 63)), (255, 255, 255, 255))


def test_a_bitmap_whose_alpha_is_nowhere_but_zero_is_opaque() -> None:
    picture = flat((200, 100, 50, 0), "RGBA")
    assert near(colour_of(images.bmp_with_alpha(picture)), (200, 100, 50))
    picture.paste((200, 100, 50, 255), (0, 0, 60, 10))
    assert picture_of(images.bmp_with_alpha(picture), size(60, 60)).getpixel((30, 30))[3] == 0  # type: ignore[index]


def test_a_png_whose_profile_is_packed_in_an_unknown_way_or_damaged_is_shown_without_it() -> None:
    content = images.encoded(flat(RED), "png", icc_profile=images.icc_profile(order="brg"))
    at = content.index(b"iCCP")
    length = int.from_bytes(content[at - 4 : at], "big")
    body = bytearray(content[at + 4 : at + 4 + length])
    body[body.index(0) + 1] = 9
    broken = content[: at - 4] + images.png_chunk(b"iCCP", bytes(body)) + content[at + 8 + length :]
    wrong_sum = content[: at + 4 + length] + b"sums" + content[at + 8 + length :]
    for damaged in (broken, wrong_sum):
        assert near(colour_of(damaged), RED)
