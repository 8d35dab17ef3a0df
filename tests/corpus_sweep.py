"""Run the engine over files, each in a child of its own, and compare what it made with libvips: a program and its reader.

    PYTHONPATH=. python tests/corpus_sweep.py [--keep FOLDER] FILE...        prints one line of JSON for each file, as they end

Two children a file, so that nobody is blamed for the other: one renders, within limits that keep the machine alive; the other lets
libvips make the same thumbnail and compares. A child that dies or overstays is a result like any other.
"""

import json
import os
import resource
import select
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from config.settings import LimitSettings
from tasks.errors import IngestError
from tasks.header import read_header
from tasks.pixels import Rendered, render
from tasks.recipe import Recipe, WantedSize

SIDE = 400
BACKGROUND = (255, 255, 255)
# What one file may take. A worker's own limits are not of this module; these only keep the machine alive.
CHILD_MEMORY_BYTES, CHILD_CPU_SECONDS, CHILD_SECONDS = 3 << 30, 40, 120
RECIPE = Recipe(
    (
        WantedSize(SIDE, SIDE, "contain", "png", 82),
        WantedSize(200, 200, "contain", "jpeg", 82),
        WantedSize(120, 90, "cover", "jpeg", 82),
        WantedSize(64, 64, "contain", "webp", 82),
    ),
    BACKGROUND,
)


def look_at(path: Path, folder: Path) -> dict[str, Any]:
    """All that is known of one file: how it ended, and where it is done, how it compares."""
    found: dict[str, Any] = {"path": str(path)}
    found |= in_a_child(lambda: engine_ending(path, folder))
    if found.get("ending") == "done":
        found |= {"oracle": in_a_child(lambda: comparison(path, folder / "0.png"))}
    return found


def in_a_child(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What `work` returned in a forked child, or how the child ended."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        _be_a_child(work, writing)
    os.close(writing)
    text, deadline = b"", time.monotonic() + CHILD_SECONDS
    while select.select([reading], [], [], max(0.0, deadline - time.monotonic()))[0]:
        piece = os.read(reading, 1 << 16)
        if not piece:
            break
        text += piece
    else:
        os.kill(child, signal.SIGKILL)
    os.close(reading)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return dict(json.loads(text)) if text and status == 0 else {"ending": f"child died: {status}"}


def _be_a_child(work: Callable[[], dict[str, Any]], writing: int) -> None:
    try:
        resource.setrlimit(resource.RLIMIT_AS, (CHILD_MEMORY_BYTES, CHILD_MEMORY_BYTES))
        resource.setrlimit(resource.RLIMIT_CPU, (CHILD_CPU_SECONDS, CHILD_CPU_SECONDS))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.write(writing, json.dumps(work()).encode())
    except BaseException as error:  # noqa: BLE001  # whatever it is, it is the finding
        os.write(writing, json.dumps({"ending": f"unnamed {type(error).__name__}: {error}"[:300]}).encode())
    finally:
        os._exit(0)


def engine_ending(path: Path, folder: Path) -> dict[str, Any]:
    """Render as a worker does; what it made is left in `folder`."""
    started = time.process_time()
    try:
        with path.open("rb", buffering=0) as file:
            header = read_header(file, path.stat().st_size, LimitSettings())
            made = render(file, header, RECIPE)
    except IngestError as named:
        return {"ending": named.reason.value, "message": str(named), "cpu": time.process_time() - started}
    for number, rendition in enumerate(made.renditions):
        (folder / f"{number}.{rendition.size.suffix}").write_bytes(rendition.content)
    return {"ending": "done", "cpu": time.process_time() - started} | _facts(made)


def _facts(made: Rendered) -> dict[str, Any]:
    return {
        "format": made.facts.format,
        "upright": [made.facts.width, made.facts.height],
        "sizes": [[rendition.width, rendition.height] for rendition in made.renditions],
        "damage": made.damage,
    }


def comparison(path: Path, made: Path) -> dict[str, Any]:
    """How the thumbnail in `made` differs from the one that libvips makes of `path`.

    `upright` is the size that libvips sees, `de00` the mean CIEDE2000, `psnr` in dB over all channels.
    """
    os.environ["VIPS_CONCURRENCY"] = "1"
    import pyvips  # noqa: PLC0415  # after the fork: it has threads

    ours = as_srgb(pyvips.Image.new_from_file(str(made))).copy_memory()
    try:
        upright = pyvips.Image.new_from_file(str(path), fail_on="none").autorot()
        theirs = pyvips.Image.thumbnail(
            str(path), SIDE, height=SIDE, size="down", output_profile="srgb", intent="relative", fail_on="none"
        )
        theirs = as_srgb(theirs).copy_memory()  # it reads only once, and from the top
    except pyvips.Error as refused:
        return {"ending": "libvips cannot", "message": str(refused)[:200]}
    found = {"ending": "compared", "upright": [upright.width, upright.height], "size": [theirs.width, theirs.height]}
    if (ours.width, ours.height) != (theirs.width, theirs.height):
        theirs = theirs.resize(ours.width / theirs.width, vscale=ours.height / theirs.height)
        if (ours.width, ours.height) != (theirs.width, theirs.height):
            return found
    difference = ours.dE00(theirs).avg()
    squares = ((ours.cast("float") - theirs.cast("float")) ** 2).avg()
    return found | {"de00": round(difference, 3), "psnr": _decibels(squares)}


def as_srgb(picture: Any) -> Any:
    """Three bands of eight bits, transparency laid on BACKGROUND."""
    if picture.hasalpha():
        picture = picture.flatten(background=list(BACKGROUND)[: picture.bands - 1] if picture.bands > 2 else 255)
    return picture.colourspace("srgb").cast("uchar")


def _decibels(mean_square: float) -> float:
    from math import log10  # noqa: PLC0415

    return round(10 * log10(255**2 / mean_square), 2) if mean_square else 99.0


def main() -> None:
    """Look at every file named on the command line."""
    arguments = sys.argv[1:]
    keep = Path(arguments[1]) if arguments[:1] == ["--keep"] else None
    for name in arguments[2:] if keep else arguments:
        with tempfile.TemporaryDirectory() as temporary:
            folder = keep / name.lstrip("/").replace("/", "__") if keep else Path(temporary)
            folder.mkdir(exist_ok=True, parents=True)
            sys.stdout.write(json.dumps(look_at(Path(name), folder)) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
