"""Thumbdrop as its users run it: the installed wheel, started as real processes in a folder of their own.

    def test_something(make_thumbdrop: MakeThumbdrop) -> None:
        thumbdrop = make_thumbdrop()                 # or make_thumbdrop(settings_text): writes thumbdrop.toml, starts nothing
        thumbdrop.start("up")                        # any command; returns when it is ready, see `start`
        thumbdrop.drop("a/photo.jpg", content)       # renamed into the inbox, so it is complete at once
        thumbdrop.wait_done(1)                       # one manifest stands, the inbox is empty
        assert thumbdrop.command("status", "--json").json["counts"] == {"done": 1}
        assert_complete(thumbdrop, {"a/photo.jpg": content})
        assert thumbdrop.stop() == [0]               # SIGTERM; Ctrl-C is `thumbdrop.running[0].interrupt()`

Whatever happens, every process that came of it is killed at the end of the test, and a test that fails shows what all
of them printed. What a reader would get wrong: nothing here imports config, tasks or watcher; what is asked of
Thumbdrop is asked through its commands and its files, as a script of an operator would do.
"""

import base64
import hashlib
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from math import floor
from pathlib import Path
from typing import Any, Protocol

import pytest
from PIL import Image

from servers import die_with_pytest
from waiting import wait_until

# Short waits, and no test depends on how full the machine's disk is. Directories are relative to the file.
SETTINGS = """\
[[inbox]]
path = "inbox"
settle = "300ms"

[library]
path = "library"
min_free = "1MB"

[thumbnails]
sizes = ["320x320", "96x96"]
"""
BOXES = {"320x320": (320, 320), "96x96": (96, 96)}

# What each command says when it does what it is there for.
_READY = {
    "up": ("watcher.ready", "worker.ready", "inbox.held"),
    "watch": ("watcher.ready", "inbox.held"),
    "worker": ("worker.ready",),
}
_MARK = "THUMBDROP_TEST_RUN"


class MakeThumbdrop(Protocol):
    """What the fixture `make_thumbdrop` gives."""

    def __call__(self, settings: str | None = SETTINGS, *, environ: Mapping[str, str] | None = None) -> "Thumbdrop": ...


@pytest.fixture(scope="session")
def installed_program(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The installed `thumbdrop`, after making sure that what it runs is the wheel's code and not the checkout's."""
    show = "import config, tasks, watcher; print(config.__file__, tasks.__file__, watcher.__file__)"
    done = subprocess.run(
        [str(installed / "bin" / "python"), "-c", show],
        cwd=tmp_path_factory.mktemp("elsewhere"),
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=True,
    )
    assert all(file.startswith(f"{installed}/") for file in done.stdout.split()), done.stdout
    return installed / "bin" / "thumbdrop"


@pytest.fixture
def make_thumbdrop(installed_program: Path, tmp_path: Path) -> Iterator[MakeThumbdrop]:
    """Makes a Thumbdrop in a new folder from the text of its settings (None: no settings file, so all defaults).

    Several in one test get a folder each.
    """
    with thumbdrops(installed_program, tmp_path) as make:
        yield make


@contextmanager
def thumbdrops(program: Path, folder: Path) -> Iterator[MakeThumbdrop]:
    """Do what `make_thumbdrop` does, for a fixture of another scope."""
    made: list[Thumbdrop] = []

    def make(settings: str | None = SETTINGS, *, environ: Mapping[str, str] | None = None) -> Thumbdrop:
        made.append(Thumbdrop(program, folder / f"td{len(made)}", settings, environ or {}))
        return made[-1]

    try:
        yield make
    finally:
        for thumbdrop in made:
            thumbdrop.kill_everything()
            thumbdrop.print_output()  # pytest shows it for a test that failed


@dataclass(frozen=True)
class Said:
    """How a command ended and what it printed."""

    code: int
    out: bytes
    err: bytes

    @property
    def text(self) -> str:
        """Its standard output."""
        return self.out.decode()

    @property
    def json(self) -> Any:
        """Its standard output as a JSON document."""
        return json.loads(self.out)


class Running:
    """One process that a test started; its standard output and error arrive in `output`, a file."""

    def __init__(self, name: str, process: "subprocess.Popen[bytes]", output: Path) -> None:
        self.name = name
        self.process = process
        self.output = output

    @property
    def text(self) -> str:
        """What it has printed until now."""
        return self.output.read_text(errors="backslashreplace")

    def wait_for(self, text: str, seconds: float = 30.0, times: int = 1) -> None:
        """Wait until it has printed `text` so many times; AssertionError when it ends before."""

        def is_there() -> bool:
            ended = self.process.poll()
            found = self.text.count(text) >= times
            assert found or ended is None, f"{self.name} ended with {ended} before it said {text!r}:\n{self.text}"
            return found

        wait_until(is_there, f"{self.name} says {text!r}; it said:\n{self.text}", seconds)

    def interrupt(self) -> None:
        """Press Ctrl-C: the terminal sends SIGINT to every process of the foreground group."""
        os.killpg(self.process.pid, signal.SIGINT)

    def wait(self, seconds: float = 30.0) -> int:
        """Wait for its end; the exit code, or minus the signal that killed it."""
        return self.process.wait(seconds)


class Thumbdrop:
    """One installation: a folder with `thumbdrop.toml`, and by its settings `inbox` and `library`."""

    def __init__(self, program: Path, folder: Path, settings: str | None, environ: Mapping[str, str]) -> None:
        self.program = program
        self.folder = folder
        self.inbox = folder / "inbox"
        self.library = folder / "library"
        self.running: list[Running] = []
        self._mark = secrets.token_hex(8)
        # Nothing else of the test's environment: no THUMBDROP_CONFIG, no PYTHONPATH to the checkout.
        self.environ = {"PATH": os.environ["PATH"], "HOME": str(folder), _MARK: self._mark, **environ}
        self.inbox.mkdir(parents=True)
        if settings is not None:
            self.configure(settings)

    def configure(self, settings: str) -> None:
        """Write the settings file; what runs already does not read it again."""
        (self.folder / "thumbdrop.toml").write_text(settings)

    # -- processes

    def start(self, *words: str, until: tuple[str, ...] | None = None, seconds: float = 40.0) -> Running:
        """Start `thumbdrop <words>`, `up` by default, and wait until it has said all of `until`.

        By default those are the lines with which up, watch and worker say that they are ready; () waits for nothing.
        """
        words = words or ("up",)
        return self.spawn([str(self.program), *words], words[0], until, seconds)

    def spawn(
        self, command: list[str], name: str, until: tuple[str, ...] | None = None, seconds: float = 40.0
    ) -> Running:
        """Start another program of this installation, `celery` say, in the same way."""
        output = self.folder / f"output-{len(self.running)}-{name}"
        with output.open("wb") as file:
            process = subprocess.Popen(
                command,
                cwd=self.folder,
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,  # a group of its own, as from a shell
                preexec_fn=die_with_pytest,
            )
        started = Running(name, process, output)
        self.running.append(started)
        for text in _READY.get(name, ()) if until is None else until:
            started.wait_for(text, seconds)
        return started

    def command(self, *words: str | bytes, seconds: float = 40.0, stdin: bytes | None = None) -> Said:
        """Run `thumbdrop <words>` to its end."""
        return self.run(self.program, *words, seconds=seconds, stdin=stdin)

    def run(self, *words: str | bytes | Path, seconds: float = 40.0, stdin: bytes | None = None) -> Said:
        """Run any program in the folder and environment of this installation to its end."""
        done = subprocess.run(
            [os.fsencode(word) for word in words],
            cwd=self.folder,
            env=self.environ,
            input=stdin or b"",
            capture_output=True,
            check=False,
            timeout=seconds,
        )
        return Said(done.returncode, done.stdout, done.stderr)

    def stop(self, number: int = signal.SIGTERM, seconds: float = 30.0) -> list[int]:
        """Send a signal to everything that `start` started and that still runs, one after the other, the last first.

        Returns their exit codes in that order.
        """
        codes = []
        for running in reversed(self.running):
            if running.process.poll() is None:
                running.process.send_signal(number)
                codes.append(running.wait(seconds))
        return codes

    def pids(self) -> dict[str, list[int]]:
        """The living processes that came of this installation, whoever their parent is by now, by what they are.

        Keys: "up", "redis", "watcher", "beat", "worker" (main processes), "worker child" and "other".
        """
        found = {pid: words for pid in _all_pids() if (words := self._words_of_ours(pid)) is not None}
        roles = {pid: _role(words) for pid, words in found.items()}
        by_role: dict[str, list[int]] = {}
        for pid, role in roles.items():
            is_child = role == "worker" and roles.get(_parent(pid)) == "worker"
            by_role.setdefault("worker child" if is_child else role, []).append(pid)
        return by_role

    def pid(self, part: str, seconds: float = 10.0) -> int:
        """One process of a part, as in `pids`; waits until there is one."""
        found = wait_until(lambda: self.pids().get(part, []), f"there is a {part}", seconds)
        return found[0]

    def kill_everything(self) -> None:
        """Kill whatever is left, until nothing is."""
        deadline = time.monotonic() + 10
        while (left := [pid for pids in self.pids().values() for pid in pids]) and time.monotonic() < deadline:
            for pid in left:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)
        for running in self.running:
            running.process.wait(10)

    def print_output(self) -> None:
        """Print what all started processes printed."""
        for running in self.running:
            code = running.process.returncode
            sys.stdout.write(f"---- {running.name} (exit code {code}) in {self.folder}\n{running.text}\n")

    def _words_of_ours(self, pid: int) -> list[str] | None:
        """The command line of a living process of ours; None for others. Redis writes over its environment."""
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
            environ = Path(f"/proc/{pid}/environ").read_bytes()
        except OSError:
            return None
        is_ours = f"{_MARK}={self._mark}".encode() in environ.split(b"\0") or os.fsencode(self.folder) in command
        # One that has ended and was not yet waited for has no command line.
        return os.fsdecode(command).split("\0") if command and is_ours else None

    # -- files

    def drop(self, name: str | bytes, content: bytes, inbox: Path | None = None) -> Path:
        """Put a file into the inbox by a rename, so that it is complete as soon as it is there."""
        hidden = self.folder / f".incoming-{secrets.token_hex(4)}"
        hidden.write_bytes(content)
        target = (inbox or self.inbox) / os.fsdecode(name)
        target.parent.mkdir(parents=True, exist_ok=True)
        return hidden.rename(target)

    def copy(self, name: str | bytes, content: bytes, inbox: Path | None = None) -> Path:
        """Put a file into the inbox as `cp` does; it is complete after the settle time."""
        target = (inbox or self.inbox) / os.fsdecode(name)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        return target

    def manifests(self) -> dict[str, dict[str, Any]]:
        """The committed manifests by slot."""
        return manifests_in(self.library)

    def reasons(self) -> dict[str, dict[str, Any]]:
        """The reason files in quarantine, by the path of the file that they are about, relative to the quarantine."""
        return reasons_in(self.library)

    def standing(self) -> list[str]:
        """The names that stand in the inbox, hidden ones too, without directories."""
        return sorted(str(file.relative_to(self.inbox)) for file in files_below(self.inbox))

    def wait_done(self, done: int, *, left: int = 0, seconds: float = 60.0) -> None:
        """Wait until so many manifests stand and so many files are left in the inbox."""
        wait_until(
            lambda: len(self.manifests()) == done and len(self.standing()) == left,
            f"{done} done and {left} left in {self.inbox}",
            seconds,
            every=0.1,
        )

    def wait_quarantined(self, count: int, seconds: float = 60.0) -> None:
        """Wait until so many files are in quarantine."""
        wait_until(lambda: len(self.reasons()) == count, f"{count} files in quarantine", seconds, every=0.1)


def manifests_in(library: Path) -> dict[str, dict[str, Any]]:
    """The committed manifests of a library by slot."""
    root = library / "manifests"
    return {
        str(file.relative_to(root).with_suffix("")): json.loads(file.read_bytes())
        for file in visible_files(root)
        if file.suffix == ".json"
    }


def reasons_in(library: Path) -> dict[str, dict[str, Any]]:
    """The reason files in a library's quarantine, by the path that they are about, relative to the quarantine."""
    root = library / "quarantine"
    return {
        str(file.relative_to(root)).removesuffix(".reason.json"): json.loads(file.read_bytes())
        for file in visible_files(root)
        if file.name.endswith(".reason.json")
    }


def assert_complete(
    thumbdrop: Thumbdrop, dropped: Mapping[str, bytes], boxes: Mapping[str, tuple[int, int]] = BOXES
) -> None:
    """Assert that the library holds exactly what these files become, by path below the inbox, and nothing else.

    Each has one manifest with one decodable thumbnail of the right size for each box, and its original byte for byte;
    no two share a file, no other file is visible, and nothing is in quarantine.
    """
    assert not visible_files(thumbdrop.library / "quarantine")
    manifests = thumbdrop.manifests()
    assert sorted(source_path(m) for m in manifests.values()) == sorted(dropped)
    expected = {thumbdrop.library / "manifests" / f"{slot}.json" for slot in manifests}
    for manifest in manifests.values():
        assert {t["box"] for t in manifest["thumbnails"]} == set(boxes)
        for thumbnail in manifest["thumbnails"]:
            expected.add(_assert_thumbnail(thumbdrop.library, manifest, thumbnail, boxes[thumbnail["box"]]))
        original = path_in(thumbdrop.library, manifest, "original")
        content = dropped[source_path(manifest)]
        assert manifest["sha256"] == hashlib.sha256(content).hexdigest()
        assert original.read_bytes() == content
        expected.add(original)
    assert len(expected) == len(manifests) * (2 + len(boxes))
    assert set(visible_files(thumbdrop.library)) == expected


def _assert_thumbnail(
    library: Path, manifest: Mapping[str, Any], thumbnail: Mapping[str, Any], box: tuple[int, int]
) -> Path:
    file = path_in(library, thumbnail, "path")
    with Image.open(file) as picture:
        picture.load()
        assert picture.size == (thumbnail["width"], thumbnail["height"])
        assert picture.size == fitted(manifest["image"]["width"], manifest["image"]["height"], box)
    assert file.stat().st_size == thumbnail["size_bytes"]
    return file


def fitted(width: int, height: int, box: tuple[int, int]) -> tuple[int, int]:
    """The size of an upright image after it was made to fit into a box, never enlarged."""
    scale = min(1.0, box[0] / width, box[1] / height)
    return max(1, floor(width * scale + 0.5)), max(1, floor(height * scale + 0.5))


def path_in(library: Path, record: Mapping[str, Any], key: str) -> Path:
    """A path that a manifest or reason names; `<key>_b64` holds the bytes of one that is not UTF-8."""
    coded = record.get(f"{key}_b64")
    return library / (os.fsdecode(base64.b64decode(coded)) if coded else record[key])


def source_path(record: Mapping[str, Any]) -> str:
    """The path below the inbox of the file that a manifest or reason is about."""
    return str(path_in(Path(), record["source"], "path"))


def visible_files(root: Path) -> list[Path]:
    """All files below `root` but those that are hidden or in a hidden directory."""
    found = files_below(root)
    return sorted(f for f in found if not any(part.startswith(".") for part in f.relative_to(root).parts))


def files_below(root: Path) -> Iterator[Path]:
    """Everything but directories. Unlike Path.rglob it takes no offence at directories that vanish meanwhile."""
    for folder, folders, names in os.walk(root):
        links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
        yield from (Path(folder, name) for name in (*names, *links))


def _all_pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _role(words: list[str]) -> str:
    if "redis" in words[0] or "valkey" in words[0]:
        return "redis"
    roles = {"up": "up", "watch": "watcher", "worker": "worker", "beat": "beat"}
    return next((roles[word] for word in words if word in roles), "other")


def _parent(pid: int) -> int:
    with suppress(OSError):
        # Its name, in parentheses, may hold anything: proc_pid_stat(5).
        return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[1])
    return 0
