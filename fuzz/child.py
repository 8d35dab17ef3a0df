"""One process that shows inputs to the engine as a worker's child does, and tells what became of each.

Reads from standard input, for each input, its length (eight bytes) and its bytes; writes a line of JSON for each:
`{"verdict", "format", "detail"}` where the verdict is "done", a reason, or one of UNWANTED. What a reader would get wrong: a crash, a
hang and SIGXCPU are not told here, for nobody is left to tell; `fuzz.line` sees them.
"""

import ctypes
import faulthandler
import gc
import io
import json
import os
import random
import re
import signal
import tempfile
import threading
import traceback
import warnings
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from PIL import Image, ImageFile, PngImagePlugin

import images
from config.settings import CategorySettings, LimitSettings, ThumbnailSettings
from fuzz.judge import judge_done, judge_record
from fuzz.seeds import format_of
from tasks.category import choose_category
from tasks.child_limits import harden_child, one_images_limits
from tasks.errors import IngestError, InputError, Reason, TruncatedError
from tasks.header import read_header
from tasks.messages import Arrival
from tasks.pixels import Rendered, render
from tasks.recipe import recipe_from
from tasks.sniff import FORMATS

# What the engine must never do; a crash and a hang come from fuzz.line.
UNWANTED = ("unnamed", "weather", "wrong", "memory", "state", "differs")

LIMITS = LimitSettings.model_validate(
    {"max_pixels": 12_000_000, "max_memory": "150MB", "cpu_time": "3s", "max_text": "4MB"}
)
MEMORY_SPARE_BYTES = 100_000_000  # thumbnails, encoders, what the allocator keeps
_SIZES = [
    "320x320",
    {"size": "100x60", "fit": "cover", "format": "webp"},
    {"size": "64x64", "format": "png"},
    {"size": "33x47", "fit": "cover", "format": "avif"},
]
RECIPE = recipe_from(ThumbnailSettings.model_validate({"sizes": _SIZES}))
_CATEGORY = CategorySettings.model_validate(
    {
        "default": "{folder}/{camera}/{year}-{month}-{day}/{format}/{orientation}",
        "rule": [
            {"name": "phones/{camera}", "camera": "*phone*"},
            {"name": "old/{year}", "taken_before": "2000-01-01"},
        ],
    }
)
_ARRIVAL = Arrival("inbox", "folder/file.jpg", 1, 1)
_M_PERTURB = -6  # mallopt(3)
_TWICE = 0.25  # of the inputs are shown twice


class Outcome(NamedTuple):
    """What the engine made of one input, comparable with what it makes of it another time."""

    verdict: str
    detail: str
    thumbnails: tuple[bytes, ...] = ()
    facts: str = ""


def outcome_of(file: BinaryIO, size_bytes: int) -> Outcome:
    """Do with an input what a worker does, and judge it."""
    try:
        with one_images_limits(LIMITS.max_memory_bytes, LIMITS.cpu_time_seconds):
            rendered = render(file, read_header(file, size_bytes, LIMITS), RECIPE)
    except (InputError, TruncatedError) as why:
        return Outcome("unnamed" if why.reason == Reason.INTERNAL_ERROR else str(why.reason), why.message)
    except IngestError as why:  # the file was read without trouble, so nothing else is to blame
        return Outcome("weather", f"{type(why).__name__} {why.reason}: {why.message}")
    except Exception:  # noqa: BLE001  # that is the question
        return Outcome("unnamed", traceback.format_exc())
    return _judged(rendered)


def _judged(rendered: Rendered) -> Outcome:
    try:
        judge_done(rendered, RECIPE.sizes, LIMITS.max_pixels)
        judge_record(rendered.facts, choose_category(_CATEGORY, rendered.facts, _ARRIVAL), _ARRIVAL)
    except Exception:  # noqa: BLE001  # a judge who stumbles has found something, too
        return Outcome("wrong", traceback.format_exc())
    contents = tuple(rendition.content for rendition in rendered.renditions)
    return Outcome("done", rendered.damage, contents, repr(rendered.facts))


class Child:
    """The engine in this process, with what was found of the process before the first input."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        tempfile.tempdir = str(folder)
        self._chance = random.Random(0)
        self._stranger = images.encoded(Image.effect_noise((700, 700), 90).convert("RGB"), quality=95)
        _fill_new_memory_with(0xAA)
        for kind in FORMATS:  # whatever is loaded late is loaded now
            outcome_of(io.BytesIO(content := images.image_bytes(kind)), len(content))
        self._state = self._look_around()
        self._base_bytes = _peak_bytes()

    def show(self, content: bytes) -> dict[str, Any]:
        """Show one input to the engine; what `fuzz.line` wants to know of it."""
        path = self._folder / "input"
        path.write_bytes(content)
        _forget_peak()
        with path.open("rb") as file:
            first = outcome_of(file, len(content))
            verdict, detail = self._aftermath(first)
            if self._chance.random() < _TWICE and self._again(file, len(content)) != first:
                verdict, detail = "differs", f"the second time something else came of it than {first[:2]}"
        path.unlink()
        if (now := self._look_around()) != self._state:
            gc.collect()
            now = self._look_around()
        if now != self._state:
            verdict = "state"
            detail = str({key: (value, now[key]) for key, value in self._state.items() if now[key] != value})
            self._state = now
        return {"verdict": verdict, "format": format_of(content), "detail": detail}

    def _again(self, file: BinaryIO, size_bytes: int) -> Outcome:
        """Show it once more, after another picture and with other rubbish in new memory: neither may shine through."""
        outcome_of(io.BytesIO(self._stranger), len(self._stranger))
        _fill_new_memory_with(0x55)
        try:
            return outcome_of(file, size_bytes)
        finally:
            _fill_new_memory_with(0xAA)

    def _aftermath(self, outcome: Outcome) -> tuple[str, str]:
        used = _peak_bytes() - self._base_bytes
        if used > LIMITS.max_memory_bytes + MEMORY_SPARE_BYTES:
            return "memory", f"{used} bytes were used, and it was {outcome.verdict}"
        return outcome.verdict, outcome.detail

    def _look_around(self) -> dict[str, Any]:
        """Everything of this process that one image may not change for the next one."""
        return {
            "files left": sorted(os.listdir(self._folder)),
            "open files": sorted(os.listdir("/proc/self/fd")),
            "standard error": os.fstat(2)[:3],
            "threads": threading.active_count(),
            "environment": dict(os.environ),
            "directory": os.getcwd(),
            "warnings": list(warnings.filters),
            "Image": (Image.MAX_IMAGE_PIXELS, sorted(Image.OPEN), Image.WARN_POSSIBLE_FORMATS),
            "ImageFile": (ImageFile.LOAD_TRUNCATED_IMAGES, ImageFile.MAXBLOCK),
            "PNG": (PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY, PngImagePlugin.PngStream),
            "limits": _limits_in_force(),
            "signals": [signal.getsignal(number) for number in (signal.SIGXCPU, signal.SIGALRM, signal.SIGPROF)],
        }


def _fill_new_memory_with(byte: int) -> None:
    ctypes.CDLL(None).mallopt(_M_PERTURB, byte)


def _limits_in_force() -> str:
    return Path("/proc/self/limits").read_text()


def _peak_bytes() -> int:
    found = re.search(r"VmHWM:\s*(\d+)", Path("/proc/self/status").read_text())
    return int(found[1]) * 1024 if found else 0


def _forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")  # proc(5): resets VmHWM


def main() -> None:
    """Answer until there is no more input."""
    questions, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "w")
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 0)
    os.dup2(nowhere, 1)  # what a decoder prints is no answer
    os.close(nowhere)
    faulthandler.enable()
    harden_child()
    with tempfile.TemporaryDirectory() as folder:
        child = Child(Path(folder))
        while length := questions.read(8):
            answers.write(json.dumps(child.show(questions.read(int.from_bytes(length, "big")))) + "\n")
            answers.flush()


if __name__ == "__main__":
    main()
