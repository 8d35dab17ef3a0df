"""What the recipe can ask of the encoders, and what of the original's metadata may come out."""

import io
import os
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
from PIL import Image, JpegImagePlugin

import images
from config.settings import LimitSettings
from needs import ROOT
from rendering import opened, size
from tasks.header import read_header
from tasks.pixels import Rendition, render
from tasks.recipe import Recipe

OUTPUTS: tuple[Any, ...] = ("jpeg", "webp", "avif", "png")
_ARTIST, _COPYRIGHT = 0x013B, 0x8298


def made(content: bytes, recipe: Recipe) -> tuple[Rendition, ...]:
    file = io.BytesIO(content)
    return render(file, read_header(file, len(content), LimitSettings()), recipe).renditions


def with_credits(kind: str = "jpeg", **options: Any) -> bytes:
    tags = images.exif(make="Canon", model="SECRET", taken="2024:05:06 07:08:09")
    tags[_ARTIST], tags[_COPYRIGHT] = options.get("artist", "Ansel Adams"), options.get("rights", "(c) 1941 A. Adams")
    tags.get_ifd(0x8825)[1] = "N"
    return images.image_bytes(kind, exif=tags)


@pytest.mark.parametrize(("subsampling", "number"), [("4:4:4", 0), ("4:2:2", 1), ("4:2:0", 2)])
def test_jpegs_have_the_subsampling_that_is_asked_for(subsampling: Any, number: int) -> None:
    wanted = replace(size(99, 99, kind="jpeg"), subsampling=subsampling)
    picture = opened(made(images.image_bytes("png"), Recipe((wanted,), (0, 0, 0)))[0])
    assert JpegImagePlugin.get_sampling(picture) == number


def test_avif_has_more_bytes_with_all_its_colour() -> None:
    half, full = (replace(size(99, 99, kind="avif"), subsampling=kind) for kind in ("4:2:0", "4:4:4"))
    small, large = made(images.image_bytes("png"), Recipe((half, full), (0, 0, 0)))
    assert len(small.content) < len(large.content)


@pytest.mark.parametrize("progressive", [False, True])
def test_jpegs_are_progressive_only_when_asked(progressive: bool) -> None:
    wanted = replace(size(99, 99, kind="jpeg"), progressive=progressive)
    content = made(images.image_bytes("png"), Recipe((wanted,), (0, 0, 0)))[0].content
    assert (b"\xff\xc2" in content, b"\xff\xc0" in content) == (progressive, not progressive)


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("kind", ["jpeg", "png", "webp", "tiff", "avif", "heic"])
def test_copyright_and_artist_are_kept_when_asked_and_nothing_else(kind: str, output: Any) -> None:
    wanted = (size(60, 60, kind=output), size(30, 30, "cover", output))
    for rendition in made(with_credits(kind), Recipe(wanted, (0, 0, 0), ("copyright",))):
        tags = opened(rendition).getexif()
        assert dict(tags) == {_ARTIST: "Ansel Adams", _COPYRIGHT: "(c) 1941 A. Adams"}
        assert b"SECRET" not in rendition.content
        assert not tags.get_ifd(0x8825)
        assert images.corners_of(opened(rendition)) == images.UPRIGHT if rendition.size.fit == "contain" else True
    for rendition in made(with_credits(kind), Recipe(wanted, (0, 0, 0))):
        assert b"Adams" not in rendition.content


@pytest.mark.parametrize("output", OUTPUTS)
def test_without_credits_nothing_is_written(output: Any) -> None:
    tags = images.exif(orientation=6, make="Canon")
    content = images.image_bytes(exif=tags)
    kept, plain = (
        made(content, Recipe((size(60, 60, kind=output),), (0, 0, 0), keep)) for keep in (("copyright",), ())
    )
    assert kept[0].content == plain[0].content


def test_credits_are_harmless_text_of_bounded_length() -> None:
    content = with_credits(artist="\x1b[2J\r\nEve\u202e", rights="photographer\0editor\0" + "x" * 60_000)
    rendition = made(content, Recipe((size(60, 60, kind="jpeg"),), (0, 0, 0), ("copyright",)))[0]
    tags = opened(rendition).getexif()
    assert tags[_ARTIST].startswith("[2J Eve")
    assert tags[_COPYRIGHT].startswith("photographer; editor; xxx")
    assert len(tags[_COPYRIGHT]) == 500
    assert len(rendition.content) < 6000


_ON_SOME_CORES = """
import hashlib, os, sys
os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(sys.argv[1])])
import images
from rendering import rendered, size
wanted = [size(90 + n, 90, kind=kind) for n, kind in enumerate(("jpeg", "webp", "avif", "png"))]
made = [rendered(images.image_bytes(kind, 900, 700), *wanted).renditions for kind in ("jpeg", "avif", "webp")]
print(hashlib.sha256(b"".join(one.content for renditions in made for one in renditions)).hexdigest())
"""


def test_the_bytes_are_the_same_on_one_core_and_on_all() -> None:
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
    one, all_cores = (
        subprocess.run(
            [sys.executable, "-c", _ON_SOME_CORES, cores], env=environment, capture_output=True, check=True
        ).stdout
        for cores in ("1", "64")
    )
    assert one == all_cores
    assert len(one.strip()) == 64


def test_the_files_have_the_magic_that_their_suffix_promises() -> None:
    magic = {"jpg": b"\xff\xd8\xff", "webp": b"RIFF", "avif": b"ftypavif", "png": b"\x89PNG"}
    for rendition in made(images.image_bytes(), Recipe(tuple(size(60, 60, kind=kind) for kind in OUTPUTS), (0, 0, 0))):
        assert magic[rendition.size.suffix] in rendition.content[:12]
        assert Image.open(io.BytesIO(rendition.content)).size == (60, 40)
