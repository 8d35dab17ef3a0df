"""Those who make thumbnails in `make bench`: each is told a photo, makes 1280, 640 and 200 pixels of it, and is measured.

A process of our own, of Pillow or of sharp stays warm over all photos, as it would in a service; vipsthumbnail and
ImageMagick are programs, and are started once for each size, as people do. Who is not installed is left out, loudly.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from results import RESULTS, ROOT, version

SIZES = (1280, 640, 200)
QUALITY = 82
HERE = Path(__file__).resolve().parent
NPM_FOLDER = RESULTS / "npm"


class MissingError(Exception):
    """This peer cannot be measured here; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What one photo cost, all its sizes together; `peak_mb` of the process, or of the largest of them."""

    cpu_ms: float
    wall_ms: float
    bytes: int
    peak_mb: float


class Peer(Protocol):
    """One who makes thumbnails; `title` with its version."""

    title: str

    def make(self, photo: Path) -> Cost:
        """Make all sizes of one photo."""
        ...

    def stop(self) -> None:
        """End its process, if it has one."""
        ...


class Warm:
    """A process that answers lines: see engine_child.py."""

    def __init__(self, title: str, command: list[str]) -> None:
        self.title = title
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, cwd=ROOT
        )

    def make(self, photo: Path) -> Cost:
        """Let it make all sizes of one photo. Raises RuntimeError when it ended instead."""
        assert self._process.stdin is not None  # noqa: S101
        assert self._process.stdout is not None  # noqa: S101
        self._process.stdin.write(f"{photo}\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.title} ended while it made thumbnails of {photo}")
        answer: dict[str, Any] = json.loads(line)
        return Cost(answer["cpu_ms"], answer["wall_ms"], answer["bytes"], _peak_mb(answer["pid"]))

    def stop(self) -> None:
        """Close its input and wait."""
        self._process.communicate(timeout=60)


class Program:
    """A program that is started for each size; `words` with the places {photo}, {size} and {target}."""

    def __init__(self, title: str, words: list[str], folder: Path) -> None:
        self.title, self._words, self._folder = title, words, folder
        folder.mkdir(parents=True, exist_ok=True)

    def make(self, photo: Path) -> Cost:
        """Run it once for each size."""
        cpu, peak, written, began = 0.0, 0.0, 0, time.perf_counter()
        for size in SIZES:
            target = self._folder / f"{size}.jpg"
            places = {"photo": str(photo), "size": f"{size}x{size}", "target": str(target)}
            process = subprocess.Popen([word.format(**places) for word in self._words])
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            if process.returncode:
                raise RuntimeError(f"{self.title} failed with {photo}")
            cpu += used.ru_utime + used.ru_stime
            peak = max(peak, used.ru_maxrss / 1024)
            written += target.stat().st_size
        return Cost(cpu * 1e3, (time.perf_counter() - began) * 1e3, written, peak)

    def stop(self) -> None:
        """Nothing is left running."""


def start(name: str) -> Peer:
    """Start one of NAMES. Raises MissingError."""
    peer: Peer = _STARTERS[name](RESULTS / "thumbnails" / name)
    return peer


def _ours(name: str, title: str) -> Any:
    def starter(folder: Path) -> Peer:
        return Warm(title, [sys.executable, str(HERE / "engine_child.py"), name, str(folder)])

    return starter


def _vips(folder: Path) -> Peer:
    program = shutil.which("vipsthumbnail")
    if not program:
        raise MissingError("vipsthumbnail is not here; on Debian: apt install libvips-tools")
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    words = [program, "{photo}", "-s", "{size}", "-o", f"{{target}}[Q={QUALITY}]"]
    return Program(f"vipsthumbnail {said.strip().removeprefix('vips-')}", words, folder)


def _imagemagick(folder: Path) -> Peer:
    for name in ("magick", "convert-im6.q16", "convert"):  # the last may be another program
        program = shutil.which(name)
        said = subprocess.run([program, "-version"], capture_output=True, text=True, check=False) if program else None
        found = re.search(r"ImageMagick (\S+)", said.stdout) if said else None
        if program and found:
            words = [program, "{photo}", "-auto-orient", "-thumbnail", "{size}>", "-quality", str(QUALITY), "{target}"]
            return Program(f"ImageMagick {found[1]}", words, folder)
    raise MissingError("ImageMagick is not here; on Debian: apt install imagemagick")


def _sharp(folder: Path) -> Peer:
    if not shutil.which("node") or not shutil.which("npm"):
        raise MissingError("sharp needs node and npm; on Debian: apt install nodejs npm")
    package = NPM_FOLDER / "node_modules" / "sharp" / "package.json"
    if not package.exists():
        NPM_FOLDER.mkdir(parents=True, exist_ok=True)
        install = ["npm", "install", "--prefix", str(NPM_FOLDER), "--no-audit", "--no-fund", "--silent", "sharp"]
        done = subprocess.run(install, capture_output=True, text=True, check=False, timeout=300)
        if done.returncode or not package.exists():
            raise MissingError(f"npm could not install sharp: {done.stderr.strip()[-200:]}")
    said = json.loads(package.read_text())["version"]
    return Warm(f"sharp {said}", ["node", str(HERE / "engine_sharp.mjs"), str(NPM_FOLDER), str(folder)])


def _peak_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(found[1]) / 1024 if found else 0.0


_STARTERS: dict[str, Any] = {
    "thumbdrop": _ours("thumbdrop", "Thumbdrop"),
    "floor": _ours("floor", f"floor: libjpeg-turbo alone (simplejpeg {version('simplejpeg')})"),
    "pillow": _ours("pillow", f"Pillow {version('pillow')} thumbnail()"),
    "vips": _vips,
    "sharp": _sharp,
    "imagemagick": _imagemagick,
}
NAMES = tuple(_STARTERS)
_STARTERS["child"] = _ours("child", "a worker's child")
