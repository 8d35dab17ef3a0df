"""Decoders that misbehave for real, in the installed program and without a hook in it: Python's own `sitecustomize`.

    thumbdrop = make_thumbdrop(SETTINGS, environ=misbehaving(tmp_path))
    thumbdrop.drop("bad.png", image_that("segfaults"))

What a picture does to its decoder is decided by its width; all others are decoded as ever. Only the worker is touched.
"""

import textwrap
from pathlib import Path

from images import image_bytes
from waiting import wait_until

DEEDS = {"segfaults": 1001, "never ends": 1002, "exhausts memory": 1003, "exits": 1004, "waits": 1005}
DEEDS |= {"computes for ever": 1006, "asks for memory": 1007, "looks for a program": 1008, "leaks": 1009}
DEEDS |= {"dawdles": 1010}

_CODE = """
import os, sys

if "worker" in sys.orig_argv:
    import ctypes, mmap, shutil
    from PIL import ImageFile

    here, c, load = os.path.dirname(__file__), ctypes.PyDLL(None), ImageFile.ImageFile.load

    def misbehave(picture):
        if {low} <= picture.width <= {high}:
            with open(os.path.join(here, f"began-{{picture.width}}"), "a") as began:
                began.write(f"{{os.getpid()}}\\n")
        if picture.width == {segfaults}:
            ctypes.string_at(0)  # reads the first byte of all memory
        if picture.width == {never_ends}:
            while True:
                c.sleep(1000)  # in C, and never gives the interpreter back
        if picture.width == {exhausts_memory}:
            raise MemoryError
        if picture.width == {exits}:
            os._exit(3)  # as a library may that calls exit(3)
        if picture.width == {computes_for_ever}:
            sum(range(10**15))  # in C, for months
        if picture.width == {asks_for_memory}:
            try:
                mmap.mmap(-1, 16 << 30, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ)  # granted where nobody limits it
            except OSError:
                raise MemoryError
        if picture.width == {looks_for_a_program} and shutil.which("gs"):
            os._exit(4)
        if picture.width == {leaks}:
            sys.modules["leaked"] = bytearray(b"x") * 450_000_000
        if picture.width == {dawdles}:
            c.usleep(150_000)  # it is asked for its pixels several times
        while picture.width == {waits} and os.path.exists(os.path.join(here, "wait")):
            c.usleep(10_000)
        return load(picture)

    ImageFile.ImageFile.load = misbehave
"""


def misbehaving(folder: Path) -> dict[str, str]:
    """An environment in which a worker's decoder does what DEEDS says; `folder` is where it leaves its marks."""
    code = textwrap.dedent(_CODE).format(
        low=min(DEEDS.values()),
        high=max(DEEDS.values()),
        **{deed.replace(" ", "_"): width for deed, width in DEEDS.items()},
    )
    (folder / "sitecustomize.py").write_text(code)
    (folder / "wait").touch()
    return {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}


def image_that(deed: str) -> bytes:
    """A sound picture, at which the decoder does that."""
    return image_bytes("png", DEEDS[deed], 20)


def times_begun(folder: Path, deed: str) -> int:
    """How often such a picture was shown to a decoder."""
    mark = folder / f"began-{DEEDS[deed]}"
    return len(mark.read_text().splitlines()) if mark.exists() else 0


def wait_begun(folder: Path, deed: str, times: int = 1) -> None:
    """Wait until such a picture was shown to a decoder so often."""
    wait_until(lambda: times_begun(folder, deed) >= times, f"a picture that {deed} is decoded", 30)


def let_go(folder: Path) -> None:
    """End the waiting of pictures that wait."""
    (folder / "wait").unlink()
