"""Thumbdrop itself, as `thumbdrop up` runs it from this checkout: embedded Redis, watcher, beat and worker processes."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from secrets import token_hex
from types import TracebackType
from typing import Any, Self

from celery import Celery

from config.celery import QUEUE
from config.settings import Settings
from config.urls import connect, results_url
from pipeline_photos import recipe
from results import RESULTS
from tasks.app import make_worker_app
from tasks.leases import Leases

ROOT = Path(__file__).resolve().parents[1]
FOLDER = RESULTS / "pipeline"
PATIENCE_SECONDS = 60.0
POLL_SECONDS = 0.02


class Thumbdrop:
    """A running installation with an inbox and a library below `folder`; a context manager."""

    def __init__(self, folder: Path, processes: int) -> None:
        self.inbox, self.library = folder / "inbox", folder / "library"
        self._log, self._processes = folder / "log", processes
        self._settings = Settings.model_validate(
            {
                "inbox": [{"path": str(self.inbox), "name": "inbox"}],
                "library": {"path": str(self.library), "min_free": "1B"},
            }
        )

    def __enter__(self) -> Self:
        self.inbox.mkdir(parents=True)
        command = [sys.executable, "-P", "-m", "watcher.cli", "up", "--workers", str(self._processes)]
        command += ["--inbox", str(self.inbox), "--library", str(self.library)]
        with self._log.open("wb") as log:
            self._up = subprocess.Popen(
                command, stdout=log, stderr=log, cwd=self._log.parent, env=os.environ | {"PYTHONPATH": str(ROOT)}
            )
        try:
            wait_for(self._is_ready, PATIENCE_SECONDS, "thumbdrop up to be ready")
        except RuntimeError:
            self._stop()
            raise
        self.leases = Leases(connect(results_url(self._settings), 5.0), 60.0)
        self.app: Celery = make_worker_app(self._settings)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.app.close()
        self._stop()

    def _stop(self) -> None:
        self._up.send_signal(signal.SIGINT)
        self._up.wait(PATIENCE_SECONDS)

    def _is_ready(self) -> bool:
        if self._up.poll() is not None:
            raise RuntimeError(f"thumbdrop up ended: {self._log.read_text()[-2000:]}")
        text = self._log.read_text()
        return "watcher.ready" in text and "worker.ready" in text

    def parts(self) -> dict[int, str]:
        """Its processes: pid -> "up", "redis", "watcher", "beat", "worker" (its main process) or "children"."""
        found, waiting = {self._up.pid: "up"}, [self._up.pid]
        for pid in waiting:
            for below in Path(f"/proc/{pid}/task").glob("*/children"):
                for child in map(int, below.read_text().split()):
                    found[child] = "children" if found[pid] == "worker" else _part_of(child)
                    waiting.append(child)
        return found

    def redis_calls(self) -> dict[str, int]:
        """How often each command was called so far, those of scripts included."""
        stats: dict[str, Any] = self.leases.redis.info("commandstats")
        return {name.removeprefix("cmdstat_"): int(facts["calls"]) for name, facts in stats.items()}

    def thumbnails_of(self, photo: Path) -> list[Path]:
        """Where its thumbnails will stand, the largest first."""
        root = self.library / "thumbnails/uncategorized"
        return [root / size.label / f"{photo.stem}_{size.label}.jpg" for size in recipe().sizes]

    def done(self) -> int:
        """How many photos are done, their originals moved."""
        return self.leases.counts().get("done", 0)

    def drop(self, photos: Sequence[Path]) -> None:
        """Rename photos into the inbox."""
        for photo in photos:
            photo.rename(self.inbox / photo.name)

    def seconds_for(self, photos: Sequence[Path]) -> float:
        """Seconds from the first rename into the inbox until the last photo is done."""
        wanted = self.done() + len(photos)
        began = time.perf_counter()
        self.drop(photos)
        wait_for(lambda: self.done() >= wanted, 60 + len(photos), f"{len(photos)} photos")
        return time.perf_counter() - began

    def round_trip(self) -> float:
        """Seconds from sending a task that does nothing (Celery's own) to the worker, until its result is here."""
        began = time.perf_counter()
        self.app.send_task("celery.accumulate", args=(1,), queue=QUEUE).get(timeout=PATIENCE_SECONDS)
        return time.perf_counter() - began

    def take_back(self, folder: Path) -> None:
        """Bring the originals back to `folder`, having checked that nothing is missing, and empty the library."""
        originals = list((self.library / "originals").glob("*/*"))
        manifests = list((self.library / "manifests").glob("[!.]*/*.json"))
        thumbnails = list((self.library / "thumbnails").glob("*/*/*"))
        if not len(originals) == len(manifests) == len(thumbnails) / len(recipe().sizes):
            raise RuntimeError(f"{len(originals)} originals, {len(manifests)} manifests, {len(thumbnails)} thumbnails")
        for original in originals:
            original.rename(folder / original.name)
        put_aside([*manifests, *thumbnails, *(self.library / "manifests/.by-source").glob("*/*")])


def put_aside(paths: Iterable[Path]) -> None:
    """Move files or folders out of the way, so that each round finds the same empty folders.

    Nothing is deleted before everything is measured: for minutes ext4 passes over each deleted inode one by one whenever
    it makes a file nearby, and a few thousand of them would take longer than the files.
    """
    aside = FOLDER / "aside"
    aside.mkdir(exist_ok=True)
    for path in list(paths):
        path.rename(aside / token_hex(8))


def _part_of(pid: int) -> str:
    words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    names = {b"watch": "watcher", b"worker": "worker", b"beat": "beat"}
    return next((names[word] for word in words if word in names), "redis")


def wait_for(is_so: Callable[[], bool], seconds: float, what: str) -> None:
    """Wait until something is so; RuntimeError when it takes longer than that."""
    deadline = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > deadline:
            raise RuntimeError(f"waited {seconds:g} s for {what}")
        time.sleep(POLL_SECONDS)
