"""Damage in the middle of a JPEG is found, and no good JPEG is taken for damaged."""

import csv
import io
import random
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import simplejpeg
from PIL import Image

from images import encoded, photo, truncated
from rendering import LIMITS, rendered, size
from tasks.errors import InputError, Reason, TruncatedError
from tasks.header import read_header
from tasks.jpeg_markers import bare_jpeg, walk_jpeg
from tasks.jpeg_strict import decode_strictly
from tasks.pixels import render
from tasks.recipe import Recipe

SMALL = size(120, 120, kind="jpeg")


def damage_in(content: bytes) -> str:
    """What the engine says of a file that it makes thumbnails of, or why it makes none; "" when all is well."""
    file = io.BytesIO(content)
    try:
        return render(file, read_header(file, len(content), LIMITS), Recipe((SMALL,), (255, 255, 255))).damage
    except (InputError, TruncatedError) as error:
        return f"{error.reason}: {error.message}"


def scan_of(content: bytes) -> tuple[int, int]:
    """Where the coded picture begins and ends."""
    bare = bare_jpeg(io.BytesIO(content), len(content))
    begin = len(content) - (len(bare.content) - bare.scan_at) + 14
    return begin, content.rindex(b"\xff\xd9")


# -- no false alarm


# Files of the corpus in which damage is found, each with what is wrong with it.
REALLY_DAMAGED = {"pillow/Tests/images/hopper_bad_exif.jpg": "its upper sixth is noise, whoever decodes it"}


@pytest.mark.timeout(120)
def test_no_good_jpeg_of_the_corpus_is_taken_for_damaged(corpus: Path) -> None:
    with (corpus / "MANIFEST.tsv").open(newline="") as table:
        rows = list(csv.DictReader(table, delimiter="\t"))
    names = [row["path"] for row in rows if row["magic"] == "jpeg" and row["pillow_loads"] == "yes"]
    found = {name: damage_in((corpus / name).read_bytes()) for name in names}
    alarms = {name: damage for name, damage in found.items() if damage and not damage.startswith("unsupported_format")}
    sys.stdout.write(f"{len(names)} JPEGs, {len(alarms)} of them damaged: {alarms}\n")
    assert len(names) > 100
    assert alarms.keys() == REALLY_DAMAGED.keys()


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"progressive": True},
        {"progressive": True, "restart_marker_rows": 2},
        {"optimize": True, "subsampling": 0},
        {"subsampling": 1, "restart_marker_blocks": 3},
        {"keep_rgb": True},
        {"quality": 1},
        {"quality": 100, "subsampling": 2},
        {
            "comment": b"\xff\xd9 and \xff\xda",
            "exif": b"Exif\0\0" + b"\xff\xd9" * 500,
            "icc_profile": b"\xff\xda" * 90_000,
        },
    ],
    ids=lambda options: ",".join(options) or "plain",
)
def test_no_jpeg_made_in_code_is_taken_for_damaged(mode: str, options: dict[str, object]) -> None:
    if mode == "L":
        options = {name: value for name, value in options.items() if name not in ("subsampling", "keep_rgb")}
    for width, height in ((601, 399), (1, 1), (7, 300), (16, 16)):
        content = encoded(photo(width, height).convert(mode), "jpeg", **options)
        assert damage_in(content) == "", (width, height)


def with_scan_parameters(content: bytes, parameters: bytes) -> bytes:
    at = content.rindex(b"\xff\xda", 0, scan_of(content)[0])
    at += 5 + 2 * content[at + 4]
    return content[:at] + parameters + content[at + 3 :]


def test_the_scan_parameters_that_samsung_phones_write_are_no_damage_and_do_not_hide_any() -> None:
    good = encoded(photo(1200, 900), "jpeg")
    samsung = with_scan_parameters(good, b"\x00\x00\x00")
    with pytest.raises(ValueError, match="Invalid SOS parameters"):  # so libjpeg does object to them
        simplejpeg.decode_jpeg(samsung)
    assert damage_in(samsung) == ""
    assert rendered(samsung, SMALL).renditions == rendered(good, SMALL).renditions
    middle = len(samsung) // 2
    assert damage_in(samsung[:middle] + samsung[middle + 4096 :])


def segment(marker: int, content: bytes) -> bytes:
    return bytes((0xFF, marker)) + (len(content) + 2).to_bytes(2, "big") + content


@pytest.mark.parametrize(
    "header",
    [
        segment(0xE2, b"ICC_PROFILE\0\x05\x02too many parts"),
        segment(0xE1, b"Exif\0\0") + b"stray bytes",
        segment(0xE0, b"JFIF\0\x09\x09\0\0\1\0\1\0\0"),
        segment(0xEE, b"Adobe\0\x64\0\0\0\0\x07"),
        b"\xff\xff\xff\xff" + segment(0xFE, b"fill bytes before a comment"),
    ],
    ids=["icc", "stray", "jfif", "adobe", "fill"],
)
def test_mistakes_in_the_metadata_are_no_damage_of_the_picture(header: bytes) -> None:
    content = encoded(photo(300, 200), "jpeg")
    assert damage_in(content[:2] + header + content[2:]) == ""


@pytest.mark.parametrize(
    "left_over", [b"\x7f", bytes(8), bytes(16), b"\xff" * 5000], ids=["stray", "zeros", "more", "fill"]
)
def test_padding_between_the_picture_and_its_end_mark_is_no_damage(left_over: bytes) -> None:
    content = encoded(photo(300, 200), "jpeg")
    assert content.endswith(b"\xff\xd9")
    assert damage_in(content[:-2] + left_over + b"\xff\xd9") == ""
    assert damage_in(content + b"a motion photo's video, or \xff\xd8 another picture") == ""


def test_an_unwritten_part_before_the_end_mark_is_damage_even_where_zeros_decode() -> None:
    content = encoded(photo(64, 64), "jpeg")
    assert damage_in(content[:1000] + bytes(4096) + b"\xff\xd9")


def test_a_jpeg_that_lacks_only_its_end_mark_waits_for_it() -> None:
    assert damage_in(encoded(photo(300, 200), "jpeg")[:-2]).startswith("truncated")


# -- the same pixels


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"quality": 95}], ids=["plain", "progressive", "fine"])
@pytest.mark.parametrize("scale", [1, 2, 4, 8])
def test_strict_pixels_are_those_of_pillow_to_the_bit(mode: str, options: dict[str, object], scale: int) -> None:
    for subsampling in (0, 1, 2) if mode == "RGB" else (0,):
        content = encoded(photo(803, 601).convert(mode), "jpeg", subsampling=subsampling, **options)
        image = Image.open(io.BytesIO(content))
        image.draft(None, (803 // scale, 601 // scale))
        strict = decode_strictly(io.BytesIO(content), len(content), image.mode, image.size)
        assert strict is not None
        assert (strict.size, strict.mode) == (image.size, mode.replace("RGB", "RGBX"))
        assert strict.convert(mode).tobytes() == image.tobytes()


# -- damage is found


def _zeroed(content: bytes, at: int, length: int) -> bytes:
    at -= at % length  # disks lose whole sectors and pages
    return content[:at] + bytes(length) + content[at + length :]


def _page_before(content: bytes, at: int) -> bytes:
    at -= at % 4096
    return content[:at] + content[at - 4096 : at] + content[at + 4096 :]


NOISE = random.Random(20240506).randbytes(4096)

# The least part of such copies that must be found. What is missed makes a shift or a blot of a few blocks, or, of pages
# that were mixed up, nothing that could be told from a picture. Single bits are found one time in four: for them only a
# checksum helps.
DAMAGES: dict[str, tuple[Callable[[bytes, int], bytes], float]] = {
    "4 kB cut out": (lambda content, at: content[:at] + content[at + 4096 :], 0.95),
    "4 kB zeroed": (lambda content, at: _zeroed(content, at, 4096), 0.95),
    "512 B zeroed": (lambda content, at: _zeroed(content, at, 512), 0.85),
    "4 kB replaced": (lambda content, at: content[:at] + NOISE + content[at + 4096 :], 0.95),
    "64 B replaced": (lambda content, at: content[:at] + NOISE[at % 4000 :][:64] + content[at + 64 :], 0.7),
    "the page before instead": (_page_before, 0.75),
    "cut short, end mark added": (lambda content, at: content[:at] + b"\xff\xd9", 1.0),
}


def some_photos() -> dict[str, bytes]:
    grain = Image.frombytes("L", (500, 350), random.Random(1).randbytes(175_000)).resize(
        (1000, 700), Image.Resampling.BICUBIC
    )
    detailed = Image.blend(photo(1000, 700), grain.convert("RGB"), 0.2)
    return {
        "smooth": encoded(photo(1600, 1200), "jpeg", quality=92),
        "detailed": encoded(detailed, "jpeg", quality=85),
        "progressive": encoded(detailed, "jpeg", quality=85, progressive=True),
        "restarts": encoded(detailed, "jpeg", quality=85, restart_marker_rows=1),
        "grey": encoded(detailed.convert("L"), "jpeg", quality=90),
        "cmyk": encoded(detailed.convert("CMYK"), "jpeg", quality=85),
    }


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_jpeg_damaged_in_the_middle_is_found(kind: str) -> None:
    break_at, least = DAMAGES[kind]
    missed: dict[str, int] = {}
    copies = 16
    photos = some_photos()
    for name, content in photos.items():
        begin, end = scan_of(content)
        places = [begin + 4096 + (end - begin - 3 * 4096) * number // copies for number in range(copies)]
        missed[name] = sum(not damage_in(break_at(content, at)) for at in places)
    found = 1 - sum(missed.values()) / (copies * len(photos))
    sys.stdout.write(f"{kind}: {found:.0%} found, missed of {copies} each: {missed}\n")
    assert found >= least, missed


def test_damage_is_told_in_words_and_thumbnails_are_made_of_what_is_left() -> None:
    content = encoded(photo(1200, 900), "jpeg", quality=92)
    middle = len(content) // 2
    made = rendered(content[:middle] + content[middle + 4096 :], SMALL)
    assert made.damage == "premature end of data segment"
    assert made.facts.damaged
    assert made.renditions[0].content
    assert not rendered(content, SMALL).facts.damaged


def test_a_damaged_jpeg_that_lacks_its_end_as_well_waits_for_the_rest() -> None:
    content = encoded(photo(1200, 900), "jpeg", quality=92)
    middle = len(content) // 2
    broken = content[: middle - 8192] + bytes(4096) + content[middle - 4096 : middle]
    assert not walk_jpeg(io.BytesIO(broken), 100, to_the_end=True).ended
    with pytest.raises(TruncatedError):
        rendered(broken, SMALL)
    assert damage_in(truncated(content)).startswith(str(Reason.TRUNCATED))


def test_the_strict_decoder_never_sees_a_lossless_frame(corpus: Path) -> None:
    """Its 1.9 writes beyond its buffer when it scales one: what the header check refuses may not be smuggled in either."""
    content = (corpus / "sharp/test/fixtures/testimgl.jpg").read_bytes()
    assert walk_jpeg(io.BytesIO(content), 100).frame == 0xC3
    assert b"\xff\xc3" not in bare_jpeg(io.BytesIO(content), len(content)).content[:400]
    assert decode_strictly(io.BytesIO(content), len(content), "RGB", (29, 19)) is None
