"""Resizing: the same picture by SIMD and by Pillow, whatever its shape, mode and box; alpha without fringes."""

import math
import os
import random
import subprocess
import sys
import threading
from mmap import mmap

import pytest
from PIL import Image, ImageChops, ImageStat

import images
from tasks import resample
from tasks.resample import as_picture, shrink

NEEDS_SIMD = pytest.mark.skipif(not resample.HAS_SIMD, reason="there is no cykooz-resizer for this machine")


def decibels(one: Image.Image, other: Image.Image) -> float:
    """The peak signal-to-noise ratio of two pictures; 99 for equal ones."""
    squares = ImageStat.Stat(ImageChops.difference(one, other)).sum2
    mean = sum(squares) / (one.width * one.height * len(squares))
    return 99.0 if mean == 0 else 10 * math.log10(255 * 255 / mean)


def in_mode(mode: str, width: int, height: int) -> Image.Image:
    """A photo of that mode; where there is alpha, it fades from the left to the right."""
    picture = images.photo(width, height).convert(mode)
    if mode in ("LA", "RGBA"):
        picture.putalpha(Image.linear_gradient("L").rotate(90).resize((width, height)))
    return picture


def shown(picture: Image.Image) -> Image.Image:
    """What is seen of a picture on grey: the colours of clear pixels mean nothing."""
    if picture.mode not in ("LA", "RGBA"):
        return picture
    below = Image.new("RGBA", picture.size, (128, 128, 128, 255))
    return Image.alpha_composite(below, picture.convert("RGBA")).convert("RGB")


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "CMYK"])
@pytest.mark.parametrize(
    ("source", "size"),
    [
        ((640, 480), (213, 160)),
        ((640, 480), (639, 480)),
        ((640, 480), (20, 480)),
        ((1, 3000), (1, 200)),
        ((65000, 1), (200, 1)),
        ((2, 2), (1, 1)),
    ],
)
def test_the_result_is_that_of_pillow(mode: str, source: tuple[int, int], size: tuple[int, int]) -> None:
    picture = in_mode(mode, *source)
    made = shrink(picture, size)
    assert (made.mode, made.size) == (mode, size)
    assert decibels(shown(made), shown(picture.resize(size, Image.Resampling.LANCZOS))) > (
        45 if mode in ("LA", "RGBA") else 50
    )


def test_only_the_box_is_resized() -> None:
    picture, box = in_mode("RGB", 101, 99), (0, 0, 100.375, 98.5)
    best = picture.resize((50, 49), Image.Resampling.LANCZOS, box=box)
    assert decibels(shrink(picture, (50, 49), box), best) > 50
    assert decibels(shrink(picture, (50, 49)), best) < 45


def test_a_picture_of_that_size_is_returned_as_it_is() -> None:
    picture = in_mode("RGB", 40, 30)
    assert shrink(picture, (40, 30)) is picture
    assert shrink(picture, (40, 30), (0, 0, 40, 30)) is picture


def test_what_lies_in_a_decoders_memory_becomes_a_picture_of_its_own() -> None:
    picture = in_mode("RGB", 64, 48)
    room = mmap(-1, 4 * 64 * 48)
    room[:] = picture.convert("RGBX").tobytes()
    whole, half = (shrink(as_picture(room, "RGBX", (64, 48)), size) for size in ((64, 48), (32, 24)))
    room[:] = bytes(len(room))
    assert whole.mode == half.mode == "RGB"
    assert whole.tobytes() == picture.tobytes()
    assert half.tobytes() == shrink(picture, (32, 24)).tobytes()


def test_clear_pixels_lend_no_colour_to_their_neighbours() -> None:
    picture = Image.new("RGBA", (100, 100), (*images.RED, 0))
    picture.paste((*images.BLUE, 255), (50, 0, 100, 100))
    made = shrink(picture, (33, 33))
    shown = [colour[:3] for _, colour in made.getcolors(9999) or [] if colour[3] > 8]  # type: ignore[index]
    assert all(
        abs(channel - wanted) <= 24 for colour in shown for channel, wanted in zip(colour, images.BLUE, strict=True)
    )


@NEEDS_SIMD
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_every_instruction_set_gives_the_same_bytes(mode: str) -> None:
    from cykooz_resizer import CpuExtensions, Resizer  # noqa: PLC0415

    picture = in_mode(mode, 803, 601)
    found = set()
    for extensions in (CpuExtensions.none, CpuExtensions.sse4_1, Resizer().cpu_extensions):
        resample._kept_resizer().cpu_extensions = extensions
        found.add(shrink(picture, (213, 160)).tobytes())
    assert len(found) == 1


def test_resizing_starts_no_thread_and_works_in_any() -> None:
    picture, made = in_mode("RGB", 803, 601), []
    thread = threading.Thread(target=lambda: made.append(shrink(picture, (213, 160)).tobytes()))
    thread.start()
    thread.join(30)
    before = set(os.listdir("/proc/self/task"))  # native threads too
    assert made == [shrink(picture, (213, 160)).tobytes()]
    assert set(os.listdir("/proc/self/task")) <= before


def test_without_the_simd_package_pillow_does_it() -> None:
    code = (
        "import sys; sys.modules['cykooz_resizer'] = None\n"
        "from PIL import Image; from tasks import resample\n"
        "assert not resample.HAS_SIMD\n"
        "made = resample.shrink(Image.linear_gradient('L').convert('RGBX'), (50, 40))\n"
        "print(made.mode, made.size)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "RGB (50, 40)\n"


def test_the_same_picture_gives_the_same_bytes_after_others() -> None:
    picture = in_mode("RGB", 301, 199)
    first = shrink(picture, (100, 66)).tobytes()
    for seed in range(5):
        shrink(images.photo(random.Random(seed).randrange(50, 900), 300, seed=seed), (40, 30))
        assert shrink(picture, (100, 66)).tobytes() == first
