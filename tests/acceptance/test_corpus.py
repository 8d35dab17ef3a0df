"""The engine over every file of the corpus, each in a child of its own, beside libvips as the oracle (pyvips's wheel)."""

import csv
import importlib.util
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageChops, ImageStat

import corpus_exceptions
from corpus_sweep import RECIPE
from needs import ROOT, missing
from tasks.errors import Reason
from tasks.geometry import final_size

# The sweep takes a minute of two idle cores, and is waited for by whichever test comes first.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
SUPPORTED = {"jpeg", "png", "webp", "gif", "tiff", "bigtiff", "bmp", "avif", "heif"}
PROCESSES = 2


@dataclass(frozen=True, slots=True)
class Swept:
    """What became of each file, by its path below the corpus; what was made of it lies in `folder`."""

    corpus: Path
    folder: Path
    rows: Mapping[str, dict[str, Any]]
    manifest: Mapping[str, dict[str, str]]

    def picture(self, path: str) -> Image.Image:
        """The thumbnail of the first size."""
        with Image.open(self.folder / str(self.corpus / path).lstrip("/").replace("/", "__") / "0.png") as picture:
            return picture.convert("RGB")

    def compared(self) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
        """(path, what we made, what libvips made) of those that both could do."""
        for path, row in self.rows.items():
            if row.get("oracle", {}).get("ending") == "compared":
                yield path, row, row["oracle"]


@pytest.fixture(scope="module")
def swept(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Swept:
    if importlib.util.find_spec("pyvips") is None:
        missing("pyvips is not installed")
    folder = tmp_path_factory.mktemp("swept")
    with (corpus / "MANIFEST.tsv").open(newline="") as file:
        manifest = {row["path"]: row for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)}
    names = [str(corpus / path) for path in manifest]
    command = [sys.executable, str(ROOT / "tests" / "corpus_sweep.py"), "--keep", str(folder)]
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
    sweeps = [
        subprocess.Popen([*command, *names[n::PROCESSES]], stdout=subprocess.PIPE, env=environment, text=True)
        for n in range(PROCESSES)
    ]
    texts = _all_they_say(sweeps)
    rows = {
        str(Path(row["path"]).relative_to(corpus)): row for text in texts for row in map(json.loads, text.splitlines())
    }
    return Swept(corpus, folder, rows, manifest)


def _all_they_say(sweeps: list[subprocess.Popen[str]]) -> list[str]:
    try:
        with ThreadPoolExecutor() as readers:  # one after the other the second would wait with its pipe full
            return list(readers.map(lambda sweep: sweep.communicate()[0], sweeps))
    finally:
        for sweep in sweeps:
            sweep.kill()
            sweep.wait()


def test_every_file_ends_in_done_or_with_a_reason(swept: Swept) -> None:
    assert set(swept.rows) == set(swept.manifest)
    endings = Counter(row["ending"] for row in swept.rows.values())
    assert set(endings) <= {"done", *(reason.value for reason in Reason)}, endings
    assert endings["done"] >= 925


def test_whatever_pillow_reads_of_the_supported_formats_is_done(swept: Swept) -> None:
    readable = [
        path for path, row in swept.manifest.items() if row["magic"] in SUPPORTED and row["pillow_loads"] == "yes"
    ]
    refused = [path for path in readable if swept.rows[path]["ending"] != "done"]
    assert len(readable) > 900
    check(refused, corpus_exceptions.REFUSED, {path: swept.rows[path]["message"] for path in refused})


def test_every_size_is_what_the_rule_says(swept: Swept) -> None:
    for path, row in swept.rows.items():
        if row["ending"] == "done":
            upright = tuple(row["upright"])
            assert [tuple(size) for size in row["sizes"]] == [final_size(upright, size) for size in RECIPE.sizes], path
            assert all(0 < have <= limit for size in row["sizes"] for have, limit in zip(size, upright, strict=True)), (
                path
            )


def test_sizes_are_those_of_libvips_to_the_pixel(swept: Swept) -> None:
    others = {
        path: (row["upright"], row["sizes"][0], oracle["upright"], oracle["size"])
        for path, row, oracle in swept.compared()
        if row["upright"] != oracle["upright"] or row["sizes"][0] != oracle["size"]
    }
    assert sum(1 for _ in swept.compared()) > 780
    check(list(others), corpus_exceptions.SIZES, others)


def test_photos_have_the_colours_that_libvips_gives_them(swept: Swept) -> None:
    photos = [
        (path, oracle)
        for path, _, oracle in swept.compared()
        if swept.manifest[path]["kind"] in ("photo", "orientation") and not is_listed(path, corpus_exceptions.COLOURS)
    ]
    assert len(photos) >= 50
    assert {path: oracle for path, oracle in photos if oracle.get("de00", 99) > 1.5 or oracle.get("psnr", 0) < 30} == {}


def test_all_other_files_have_the_colours_that_libvips_gives_them(swept: Swept) -> None:
    others = {
        path: oracle
        for path, _, oracle in swept.compared()
        if oracle.get("de00", 99) > 2.0 and path not in corpus_exceptions.SIZES
    }
    check(list(others), corpus_exceptions.COLOURS, others)


SETS = {
    "exif-orientation-examples/Landscape_{}.jpg": range(9),
    "exif-orientation-examples/Portrait_{}.jpg": range(9),
    "sharp/test/fixtures/Landscape_{}.jpg": range(1, 9),
    "sharp/test/fixtures/Portrait_{}.jpg": range(1, 9),
    "pillow/Tests/images/hopper_orientation_{}.jpg": range(2, 9),
    "pillow/Tests/images/hopper_orientation_{}.webp": range(2, 9),
    "pillow/Tests/images/g4_orientation_{}.tif": range(1, 9),
    "pillow/Tests/images/avif/rot{}mir0.avif": range(4),
    "pillow/Tests/images/avif/rot{}mir1.avif": range(4),
}


@pytest.mark.parametrize("pattern", SETS)
def test_the_ways_to_store_a_picture_give_one_picture(swept: Swept, pattern: str) -> None:
    first, *others = (swept.picture(pattern.format(n)) for n in SETS[pattern])
    for other in others:
        assert other.size == first.size
        # The corners, because a number stands in the middle of each.
        assert max(difference(corner(first, n), corner(other, n)) for n in range(4)) < 6
    turned = [first.transpose(turn) for turn in Image.Transpose]
    assert min(max(difference(corner(first, n), corner(way, n)) for n in range(4)) for way in turned) > 6


def corner(picture: Image.Image, number: int) -> Image.Image:
    """One of the four corners, a quarter as wide and high as the picture, made small so that noise does not count."""
    width, height = picture.width // 4, picture.height // 4
    x, y = (picture.width - width) * (number % 2), (picture.height - height) * (number // 2)
    return picture.crop((x, y, x + width, y + height)).resize((6, 6), Image.Resampling.BOX)


def test_heic_has_the_colours_of_the_png_that_it_was_made_of(swept: Swept) -> None:
    pairs = {
        path: path.replace("/heif/", "/non_heif/")
        .replace(".heif", ".png")
        .replace("_10__", "_16__")
        .replace("_12__", "_16__")
        for path in swept.rows
        if fnmatch(path, "pillow_heif/tests/images/heif/*__*.heif") and "/L_1" not in path  # made of another PNG
    }
    assert len(pairs) >= 14
    others = {path: difference(swept.picture(path), swept.picture(png)) for path, png in pairs.items()}
    assert max(others.values()) < 4, others


def difference(one: Image.Image, other: Image.Image) -> float:
    """Mean difference of a channel, of 255."""
    means = ImageStat.Stat(ImageChops.difference(one, other)).mean
    return sum(means) / len(means)


def is_listed(path: str, patterns: Mapping[str, str]) -> bool:
    """Whether a path fits one of the patterns."""
    return any(fnmatch(path, pattern) for pattern in patterns)


def check(found: list[str], allowed: Mapping[str, str], details: Mapping[str, Any]) -> None:
    """Fail for what is found without being allowed, and for what is allowed without being found."""
    unexpected = {path: details[path] for path in found if not is_listed(path, allowed)}
    assert unexpected == {}
    assert [pattern for pattern in allowed if not any(fnmatch(path, pattern) for path in found)] == []
