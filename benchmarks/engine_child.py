"""One warm process that makes thumbnails as it is told, line by line, and says what each photo cost it.

Usage: engine_child.py thumbdrop|child|pillow|floor FOLDER, then on the standard input one path of a photo a line. The answer to
each is a line of JSON: cpu_ms (user and system, of all threads), wall_ms and bytes written.
"""

import io
import json
import os
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

from PIL import Image

SIZES = (1280, 640, 200)
QUALITY = 82

Work = Callable[[Path, Path], int]


def thumbdrop(photo: Path, folder: Path) -> int:
    """The engine as a worker's child runs it: header, every check, one decode, all sizes."""
    from config.settings import LimitSettings, ThumbnailSettings  # noqa: PLC0415
    from tasks.header import read_header  # noqa: PLC0415
    from tasks.pixels import render  # noqa: PLC0415
    from tasks.recipe import recipe_from  # noqa: PLC0415

    with photo.open("rb", buffering=0) as file:
        header = read_header(file, photo.stat().st_size, LimitSettings())
        made = render(file, header, recipe_from(ThumbnailSettings(quality=QUALITY)))
    return sum((folder / f"{made.size.label}.jpg").write_bytes(made.content) for made in made.renditions)


def child(photo: Path, folder: Path) -> int:
    """The same in a process that has everything loaded that a worker's child has."""
    import tasks.celery  # noqa: F401, PLC0415

    return thumbdrop(photo, folder)


def pillow(photo: Path, folder: Path) -> int:
    """The obvious Celery task: open, thumbnail, save, for each size."""
    written = 0
    for size in SIZES:
        target = folder / f"{size}.jpg"
        with Image.open(photo) as image:
            image.thumbnail((size, size))
            image.save(target, quality=QUALITY)
        written += target.stat().st_size
    return written


def floor(photo: Path, folder: Path) -> int:
    """What nobody can do without: one decode by libjpeg-turbo at the engine's scale, and the three encodes, written as by all."""
    import simplejpeg  # noqa: PLC0415

    width, height, buffer = _scaled(photo)
    content = photo.read_bytes()
    simplejpeg.decode_jpeg(content, "RGBX", min_width=width, min_height=height, buffer=buffer, strict=True)
    encoded = [_encoded(thumbnail) for thumbnail in _thumbnails(photo)]
    return sum((folder / f"{size}.jpg").write_bytes(one) for size, one in zip(SIZES, encoded, strict=True))


@cache
def _scaled(photo: Path) -> tuple[int, int, "memoryview[int]"]:
    import mmap  # noqa: PLC0415

    from tasks.geometry import decode_divisor  # noqa: PLC0415

    with Image.open(photo) as image:
        full = image.size
    factor = min(1.0, max(SIZES) / max(full))
    divisor = decode_divisor(full, (round(full[0] * factor), round(full[1] * factor)), fitted=True)
    width, height = -(-full[0] // divisor), -(-full[1] // divisor)
    room = mmap.mmap(-1, 4 * width * height)
    room.madvise(mmap.MADV_HUGEPAGE)
    return width, height, memoryview(room)


@cache
def _thumbnails(photo: Path) -> list[Image.Image]:
    made = []
    for size in SIZES:
        with Image.open(photo) as image:
            image.thumbnail((size, size))
            made.append(image.copy())
    return made


def _encoded(thumbnail: Image.Image) -> bytes:
    content = io.BytesIO()
    thumbnail.save(content, "jpeg", quality=QUALITY)
    return content.getvalue()


def main() -> None:
    """Answer until the input ends."""
    work: Work = {"thumbdrop": thumbdrop, "child": child, "pillow": pillow, "floor": floor}[sys.argv[1]]
    folder = Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    for line in sys.stdin:
        cpu, wall = time.process_time(), time.perf_counter()
        written = work(Path(line.rstrip("\n")), folder)
        answer = {"cpu_ms": (time.process_time() - cpu) * 1e3, "wall_ms": (time.perf_counter() - wall) * 1e3}
        print(json.dumps({**answer, "bytes": written, "pid": os.getpid()}), flush=True)


if __name__ == "__main__":
    main()
