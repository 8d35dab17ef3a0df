"""What people use today: vipsthumbnail by xargs, and the Celery task that everybody writes first.

Both write their thumbnails into a folder for each size and promise nothing: no sync, no hash, no look at the file before.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from celery import Celery

from obvious_task import SIZES
from pipeline_thumbdrop import PATIENCE_SECONDS, POLL_SECONDS, wait_for


def xargs_missing() -> str:
    """Why vipsthumbnail cannot be measured here, "" when it can."""
    return "" if shutil.which("vipsthumbnail") else "not installed (apt install libvips-tools)"


def xargs_seconds(photos: Sequence[Path], out: Path, processes: int) -> float:
    """Seconds of `xargs -P` over vipsthumbnail, once for each size, a file at a time."""
    names = "\0".join(map(str, photos)).encode()
    began = time.perf_counter()
    for side in SIZES:
        target = out / f"{side}"
        target.mkdir(parents=True, exist_ok=True)
        command = ["vipsthumbnail", f"--size={side}x{side}>", "--output", f"{target}/%s.jpg[Q=82,strip]"]
        subprocess.run(["xargs", "-0", "-n", "1", "-P", str(processes), *command], input=names, check=True)
    seconds = time.perf_counter() - began
    _require(out, photos)
    return seconds


class ObviousCelery:
    """A worker with the obvious task, on a Redis of its own; a context manager."""

    def __init__(self, folder: Path, processes: int) -> None:
        self._folder, self._processes = folder, processes
        self._socket = folder / "redis.sock"

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True)
        url = f"redis+socket://{self._socket}"
        environment = os.environ | {"OBVIOUS_BROKER": url, "PYTHONPATH": str(Path(__file__).parent)}
        server = [
            "redis-server",
            "--port",
            "0",
            "--unixsocket",
            str(self._socket),
            "--save",
            "",
            "--dir",
            str(self._folder),
        ]
        worker = [sys.executable, "-m", "celery", "-A", "obvious_task", "worker", "-c", str(self._processes)]
        with (self._folder / "log").open("wb") as log:
            self._redis = subprocess.Popen(server, stdout=log, stderr=log)
            self._worker = subprocess.Popen(worker, stdout=log, stderr=log, env=environment)
        self._app = Celery(broker=url)
        try:
            wait_for(lambda: b"[queues]" in (self._folder / "log").read_bytes(), PATIENCE_SECONDS, "the obvious worker")
        except RuntimeError:
            self._stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def _stop(self) -> None:
        self._app.close()
        for process in (self._worker, self._redis):
            process.send_signal(signal.SIGTERM)
            process.wait(PATIENCE_SECONDS)

    def seconds_for(self, photos: Sequence[Path], out: Path) -> float:
        """Seconds from the first message until the last thumbnail is there."""
        for side in SIZES:
            (out / f"{side}").mkdir(parents=True, exist_ok=True)
        began = time.perf_counter()
        for photo in photos:
            self._app.send_task("thumbnails", args=(str(photo), str(out)))
        while sum(len(os.listdir(out / f"{side}")) for side in SIZES) < len(SIZES) * len(photos):
            time.sleep(POLL_SECONDS)
        seconds = time.perf_counter() - began
        _require(out, photos)
        return seconds


def _require(out: Path, photos: Sequence[Path]) -> None:
    made = sum(1 for path in out.rglob("*.jpg"))
    if made != len(SIZES) * len(photos):
        raise RuntimeError(f"{made} thumbnails of {len(photos)} photos in {out}")
