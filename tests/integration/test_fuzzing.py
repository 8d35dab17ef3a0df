"""The fuzzer finds what it is for, in engines with a planted fault; and a short run of it over the real one."""

import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from fuzz.findings import Findings
from fuzz.line import Answer, FuzzedChild, Line
from fuzz.mutations import mutated
from fuzz.seeds import seeds_in_code
from images import image_bytes

ROOT = Path(__file__).resolve().parent.parent.parent
PLANTED_WIDTH = 201  # of no picture that the child warms up with
# What a decoder at fault does to a picture of that width, and what the fuzzer has to call it.
FAULTS = {
    "crash": "import ctypes; ctypes.string_at(0)",
    "hang": "sum(range(10**15))",
    "unnamed": "raise SystemError('unheard of')",
    "weather": "raise OSError(5, 'Input/output error')",
    "wrong": "import tasks.pixels as p; p.final_size = lambda full, wanted: (9, 9)",
    "memory": "b'x' * 400_000_000",
    "state": "ImageFile.LOAD_TRUNCATED_IMAGES = True",
    "differs": "import numpy; self.im = Image.fromarray(numpy.empty((100, {width}, 3), 'u1')).im",  # what stood there before
    "differs ": "import tasks.encode as e; e.count = getattr(e, 'count', 0) + 1; self.im.putpixel((0, 0), e.count % 256)",
}
_SITE = """
from PIL import Image, ImageFile

load = ImageFile.ImageFile.load

def at_fault(self):
    loaded = load(self)
    if self.width == {width}:
        {fault}
    return loaded

ImageFile.ImageFile.load = at_fault
"""


@pytest.fixture
def child() -> Iterator[FuzzedChild]:
    child = FuzzedChild()
    yield child
    child.end()


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Children of the fuzzer find the project, and what stands in `tmp_path` before it."""
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{ROOT}:{ROOT}/tests")
    return tmp_path


@pytest.mark.parametrize(("verdict", "fault"), FAULTS.items())
def test_every_kind_of_fault_is_found(verdict: str, fault: str, child: FuzzedChild, environment: Path) -> None:
    code = _SITE.format(width=PLANTED_WIDTH, fault=fault.format(width=PLANTED_WIDTH))
    (environment / "sitecustomize.py").write_text(code)
    planted = image_bytes("png", PLANTED_WIDTH, 100)
    assert child.show(image_bytes("png", 200, 100)).verdict == "done"
    # Only some inputs are shown twice, which is what "differs" takes.
    times = 40 if "differs" in verdict else 1
    assert verdict.strip() in (child.show(planted).verdict for _ in range(times))


def test_after_a_crash_there_is_another_child(child: FuzzedChild, environment: Path) -> None:
    code = _SITE.format(width=PLANTED_WIDTH, fault=FAULTS["crash"])
    (environment / "sitecustomize.py").write_text(code)
    answer = child.show(image_bytes("png", PLANTED_WIDTH, 100))
    assert answer.verdict == "crash"
    assert "Segmentation fault" in answer.detail
    assert child.show(image_bytes("png")).verdict == "done"


def test_every_seed_is_a_picture_of_its_format_or_refused_by_a_limit(child: FuzzedChild, environment: Path) -> None:
    answers = {name: child.show(content) for name, content in seeds_in_code()}
    others = {name: answer.verdict for name, answer in answers.items() if answer.verdict != "done"}
    assert others == {"webp-bomb": "too_many_pixels", "dng": "unsupported_raw"}
    assert all(name.startswith(answer.format) for name, answer in answers.items() if name != "dng")


def test_the_same_seed_gives_the_same_inputs() -> None:
    seeds = [content for _, content in seeds_in_code()]

    def inputs(seed: int) -> list[bytes]:
        chance = Random(seed)
        return [mutated(chance.choice(seeds), chance, chance.choice(seeds)) for _ in range(200)]

    assert inputs(7) == inputs(7)
    assert len(set(inputs(7))) > 190


def test_a_finding_is_written_down_with_its_seed_and_of_each_kind_only_some(tmp_path: Path) -> None:
    findings = Findings(tmp_path, "7")
    for number in range(10):
        findings.keep(Answer("crash", "", f"at 0x{number:x}\nended with status -11"), b"input %d" % number, "line 0")
    assert sum(findings.kinds.values()) == 10
    assert len(list(tmp_path.glob("crash-*.bin"))) == 3
    assert '"seed": "7"' in next(iter(tmp_path.glob("*.json"))).read_text()


def test_a_line_counts_what_it_saw_and_tells_what_was_unwanted(environment: Path) -> None:
    import time  # noqa: PLC0415

    found: list[Answer] = []
    line = Line("7", seeds_in_code(), lambda answer, *_: found.append(answer))
    line.run(time.monotonic() + 3, unwanted=["corrupt"])
    assert line.inputs == line.tally.total() > 0
    assert {answer.verdict for answer in found} <= {"corrupt"}


@pytest.mark.faults
@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("seed", ["7", "fresh"])
def test_half_a_minute_of_broken_pictures_does_the_engine_no_harm(seed: str, environment: Path) -> None:
    """The fresh seed stands in the output of a failure; `make fuzz FUZZ="--seed ..."` brings the inputs back."""
    number = str(secrets.randbelow(10**9)) if seed == "fresh" else seed
    command = [sys.executable, "-m", "fuzz", "--minutes", "0.5", "--processes", "1", "--no-corpus", "--seed", number]
    found = subprocess.run(
        [*command, "--findings", environment / "findings"], capture_output=True, text=True, check=False, timeout=170
    )
    assert found.returncode == 0, found.stdout + found.stderr
    assert " done\n" in found.stdout
