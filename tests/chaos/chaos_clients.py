"""The clients of the chaos test: threads that put files into the inboxes in all the ways in which people do.

Knows files only, no processes. What a reader would get wrong: a client goes on until its file is whole (it retries on a
full disk, as SFTP and rsync clients do), because only what was wholly delivered can be asked for at the end.
"""

import errno
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from chaos_plan import Drop, Step

_CLIENTS = 32
_LONG_AGO = 1_000_000_000
_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True)
class Place:
    """An inbox, and a folder beside it on the same file system in which clients prepare what they rename."""

    inbox: Path
    staging: Path


@dataclass
class Clients:
    """Everything that drops files. `delivered` has the Unix time at which the last byte of a path was there."""

    places: dict[str, Place]
    delivered: dict[tuple[str, str], float] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    _may_go_on: threading.Event = field(default_factory=threading.Event)
    _stopping: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._may_go_on.set()

    def pause(self) -> None:
        """Let every client stand still, in the middle of a file perhaps, until `resume`."""
        self._may_go_on.clear()

    def resume(self) -> None:
        """Let them go on."""
        self._may_go_on.set()

    def stop(self) -> None:
        """Give up what is not delivered yet."""
        self._stopping.set()
        self._may_go_on.set()

    def drop_all(self, drops: tuple[Drop, ...], began_at: float) -> None:
        """Do every drop at its time after `began_at` (monotonic); returns when all are delivered."""
        with ThreadPoolExecutor(_CLIENTS, "client") as pool:
            begun: list[Future[None]] = []
            for number, drop in enumerate(drops):
                self._stopping.wait(max(0.0, began_at + drop.at - time.monotonic()))
                begun.append(pool.submit(self._drop, drop, number))
            for future in begun:
                future.result()

    def _drop(self, drop: Drop, number: int) -> None:
        place = self.places[drop.inbox]
        client = _Client(place, drop, number, self._breathe)
        for step in drop.steps:
            self._breathe(step.wait_seconds)
            if self._stopping.is_set():
                return
            try:
                client.do(step)
            except OSError as error:  # the judge finds out what it means
                self.errors.append(f"{drop.kind}, {step.how}, {drop.inbox}/{drop.path!r}: {error}")
        for path in [f"{drop.path}/{name}" for name, _ in drop.tree] or [drop.path]:
            self.delivered[drop.inbox, path] = time.time()

    def _breathe(self, seconds: float) -> None:
        self._stopping.wait(seconds)
        self._may_go_on.wait()


class _Client:
    """One client with one drop; `breathe` waits, and longer while clients are paused."""

    def __init__(self, place: Place, drop: Drop, number: int, breathe: Callable[[float], None]) -> None:
        self._place = place
        self._drop = drop
        self._target = place.inbox / drop.path
        self._staging = place.staging / f"{number}"
        self._breathe = breathe
        self._rng = Random(number)

    def do(self, step: Step) -> None:
        """Do one step."""
        if step.how in ("tree moved", "tree copied"):
            self._bring_tree(step)
            return
        self._target.parent.mkdir(parents=True, exist_ok=True)
        match step.how:
            case "slowly":
                self._write(self._target, step, os.O_CREAT | os.O_TRUNC, pieces=self._rng.randint(2, 4))
            case "at once":
                self._write(self._target, step, os.O_CREAT | os.O_TRUNC)
            case "appended":
                self._write(self._target, step, os.O_APPEND, pieces=2)
            case "renamed":
                self._write(self._staging, step, os.O_CREAT | os.O_TRUNC)
                self._into_the_inbox(lambda: self._staging.rename(self._target))
            case "linked":
                self._write(self._staging, step, os.O_CREAT | os.O_TRUNC)
                self._into_the_inbox(lambda: self._link(self._staging))
            case "by SFTP":  # OpenSSH's server: link and unlink, so there is no event of a rename
                upload = self._target.with_name(f"{self._drop.at}.filepart")
                self._write(upload, step, os.O_CREAT | os.O_TRUNC, pieces=2)
                self._link(upload)
                upload.unlink()

    def _write(self, path: Path, step: Step, flags: int, pieces: int = 1) -> None:
        fd = self._open(path, os.O_WRONLY | flags)
        try:
            size = -(-len(step.content) // pieces) or 1
            for at in range(0, len(step.content), size):
                if at:
                    self._breathe(self._rng.uniform(0.05, 0.8))
                self._write_piece(fd, step.content[at : at + size])
            if step.old:
                os.utime(fd, (_LONG_AGO + self._rng.randrange(10**6),) * 2)
        finally:
            os.close(fd)

    def _open(self, path: Path, flags: int) -> int:
        while True:
            try:
                return os.open(path, flags, 0o644)
            except FileNotFoundError:  # housekeeping prunes folders that stand empty
                if not flags & os.O_CREAT:
                    raise
                path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                if error.errno not in _FULL:
                    raise
                self._breathe(0.2)

    def _write_piece(self, fd: int, content: bytes) -> None:
        rest = memoryview(content)
        while rest:
            try:
                rest = rest[os.write(fd, rest) :]
            except OSError as error:
                if error.errno not in _FULL:
                    raise
                self._breathe(0.2)

    def _into_the_inbox(self, move: Callable[[], object]) -> object:
        while True:
            try:
                return move()
            except FileNotFoundError:
                self._target.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                if error.errno not in _FULL:
                    raise
                self._breathe(0.2)

    def _link(self, path: Path) -> None:
        try:
            os.link(path, self._target)
        except FileExistsError:  # then a client removes it and tries again
            with suppress(FileNotFoundError):
                self._target.unlink()
            os.link(path, self._target)

    def _bring_tree(self, step: Step) -> None:
        for name, content in self._drop.tree:
            file = self._staging / name
            file.parent.mkdir(parents=True, exist_ok=True)
            self._write(file, Step("at once", content), os.O_CREAT | os.O_TRUNC)
        if step.how == "tree moved":
            self._staging.rename(self._target)
            return
        copy = ["cp", "-r", "-T", str(self._staging), str(self._target)]
        while subprocess.run(copy, stderr=subprocess.DEVNULL, check=False).returncode:  # the disk is full
            self._breathe(0.2)
        shutil.rmtree(self._staging)
