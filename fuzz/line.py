"""One line of fuzzing: inputs are made from a seed and shown to a child, one after the other, until the time is over.

The same seed and line give the same inputs again as long as the engine answers the same: an input that brings out an answer
that was not heard before is kept, and changed further. What a reader would get wrong: the child's limits are the
worker's; the time limit here is what `task_time` is there.
"""

import json
import re
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from random import Random
from typing import IO, NamedTuple

from fuzz.mutations import mutated
from fuzz.seeds import format_of

INPUTS_PER_CHILD = 500  # as worker_max_tasks_per_child
WALL_SECONDS = 60.0  # as limits.task_time
_MAX_KEPT = 3000
_UNCHANGED = 0.02  # of the inputs: the seeds themselves have to pass, too

Found = Callable[["Answer", bytes, str], None]


class Answer(NamedTuple):
    """What became of one input: "done", a reason, one of `fuzz.child.UNWANTED`, "crash" or "hang"; and in which words."""

    verdict: str
    format: str
    detail: str


class FuzzedChild:
    """A process that shows inputs to the engine; a new one when it died, or was shown many."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._noise: IO[bytes] | None = None  # its standard error
        self._shown = 0

    def show(self, content: bytes) -> Answer:
        """Show it an input; a child that crashes or hangs is an answer, too."""
        process = self._process or self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        self._shown += 1
        process.stdin.write(len(content).to_bytes(8, "big") + content)
        process.stdin.flush()
        if not select.select([process.stdout], [], [], WALL_SECONDS)[0]:
            self.end()
            return Answer("hang", "", f"no answer for {WALL_SECONDS:g} s")
        line = process.stdout.readline()
        if not line:
            return self._last_words(process)
        if self._shown >= INPUTS_PER_CHILD:
            self.end()
        return Answer(**json.loads(line))

    def end(self) -> None:
        """End the child, if there is one."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None
        if self._noise is not None:
            self._noise.close()
            self._noise = None

    def _start(self) -> subprocess.Popen[bytes]:
        self._noise = tempfile.TemporaryFile()  # noqa: SIM115  # until `end`
        self._shown = 0
        self._process = subprocess.Popen(
            [sys.executable, "-m", "fuzz.child"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._noise
        )
        return self._process

    def _read_noise(self) -> str:
        if self._noise is None:
            return ""
        self._noise.seek(0)
        return self._noise.read()[-3000:].decode("utf-8", "replace")

    def _last_words(self, process: subprocess.Popen[bytes]) -> Answer:
        status = process.wait()
        noise = self._read_noise()
        self.end()
        if status == -signal.SIGXCPU:
            return Answer("hang", "", "used up its processor time")
        return Answer("crash", "", f"{noise}\nended with status {status}")


class Line:
    """Makes inputs and shows them to a child; counts what became of them."""

    def __init__(self, seed: str, seeds: Sequence[tuple[str, bytes]], found: Found) -> None:
        self._seed = seed
        self._chance = Random(seed)
        self._seeds = seeds
        self._by_format: dict[str, list[tuple[str, bytes]]] = {}
        for name, content in seeds:
            self._by_format.setdefault(format_of(content), []).append((name, content))
        self._found = found
        self._kept: list[tuple[str, bytes]] = []
        self._heard: set[tuple[str, ...]] = set()
        self.tally: Counter[tuple[str, str]] = Counter()

    @property
    def inputs(self) -> int:
        """How many inputs were shown."""
        return self.tally.total()

    @property
    def behaviours(self) -> int:
        """How many different answers were heard."""
        return len(self._heard)

    def run(self, until: float, unwanted: Sequence[str]) -> None:
        """Go on until that moment of the monotonic clock."""
        child = FuzzedChild()
        try:
            while time.monotonic() < until:
                name, content = self._next_input()
                self._note(child.show(content), name, content, unwanted)
        finally:
            child.end()

    def _next_input(self) -> tuple[str, bytes]:
        chance = self._chance
        from_kept = self._kept and chance.random() < 0.5
        # Every format as often as any other, however many pictures of it there are.
        own = self._kept if from_kept else self._by_format[chance.choice(list(self._by_format))]
        name, content = chance.choice(own)
        other = chance.choice(self._seeds)[1]
        return name, content if chance.random() < _UNCHANGED else mutated(content, chance, other)

    def _note(self, answer: Answer, name: str, content: bytes, unwanted: Sequence[str]) -> None:
        self.tally[answer.format, answer.verdict] += 1
        heard = (answer.verdict, answer.format, re.sub(r"[0-9]+|b'.*|b\".*", "#", answer.detail)[:100])
        if heard not in self._heard:
            self._heard.add(heard)
            if len(self._kept) < _MAX_KEPT:
                self._kept.append((name, content))
        if answer.verdict in unwanted:
            self._found(answer, content, f"{self._seed}, number {self.inputs}, from {name}")
