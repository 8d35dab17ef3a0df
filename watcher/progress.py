"""The progress of `thumbdrop scan --wait`: a bar on a terminal, a plain line a second in a pipe."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from watcher.printing import console

if TYPE_CHECKING:
    from watcher.scan import Progress

SECONDS_BETWEEN_LINES = 1.0

Show = Callable[["Progress"], None]


def progress_line(progress: "Progress") -> str:
    """Put a progress into words: "42/200 done, 1 quarantined"; what waits is said only if anything does."""
    waiting = f", {progress.waiting} waiting" if progress.waiting else ""
    return f"{progress.done}/{progress.total} done, {progress.quarantined} quarantined{waiting}"


@contextmanager
def shown_progress() -> Iterator[Show]:
    """Give the function that shows a progress, in the way that fits where the output goes."""
    if sys.stdout.isatty():
        with _bar() as bar:
            yield _show_in(bar)
    else:
        lines = PlainLines(lambda line: print(line, flush=True))  # noqa: T201 - a number a line
        yield lines.show
        lines.finish()


class PlainLines:
    """At most one line a second, and always the last one."""

    def __init__(self, write: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._write = write
        self._clock = clock
        self._next_at = clock()
        self._said = ""
        self._last = ""

    def show(self, progress: "Progress") -> None:
        """Write the progress if it is new and the last line is a second old."""
        self._last = progress_line(progress)
        if self._clock() >= self._next_at:
            self._say()

    def finish(self) -> None:
        """Write the last progress, if it has not been written."""
        self._say()

    def _say(self) -> None:
        if self._last != self._said:
            self._write(self._last)
            self._said = self._last
            self._next_at = self._clock() + SECONDS_BETWEEN_LINES


def _bar() -> Bar:
    return Bar(
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rest]}"),
        TimeRemainingColumn(),
        console=console(),
    )


def _show_in(bar: Bar) -> Show:
    task = bar.add_task("scan", total=None, rest="")

    def show(progress: "Progress") -> None:
        ended = progress.done + progress.quarantined
        bar.update(task, total=progress.total, completed=ended, rest=progress_line(progress).partition(", ")[2])

    return show
