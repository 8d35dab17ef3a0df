"""Several pieces of work that wait for the disk at the same time: what they want to be durable is synced once for all.

A piece of work is a generator that yields, wherever it has to wait, the folders whose names must be durable before it goes
on. What a reader would get wrong: a wait without folders is one too. It lets the others write their files first, so that
one commit of the file system's journal has them all.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from contextlib import suppress
from typing import TypeVar

Value = TypeVar("Value")
Steps = Generator[Iterable[str], None, Value]


class Together:
    """Work that has begun. `sync(folder)` makes the names in a folder durable, or raises OSError, which its work then gets."""

    def __init__(self, sync: Callable[[str], None]) -> None:
        self._sync = sync
        self._waiting: deque[tuple[Steps[object], tuple[str, ...]]] = deque()

    def begin(self, steps: Steps[object]) -> None:
        """Do a piece of work up to its first wait."""
        self._go_on(steps, None)

    def finish(self) -> None:
        """Do all that has begun to its end, wait by wait."""
        while self._waiting:
            wanted = dict.fromkeys(folder for _, folders in self._waiting for folder in folders)
            troubles = {folder: self._trouble_with(folder) for folder in wanted}
            for _ in range(
                len(self._waiting)
            ):  # what waits again comes at the end; what raises leaves the rest to `close`
                steps, folders = self._waiting.popleft()
                self._go_on(steps, next(filter(None, (troubles[folder] for folder in folders)), None))

    def close(self) -> None:
        """Give up what still waits: it cleans up behind itself."""
        for steps, _ in self._waiting:
            steps.close()
        self._waiting.clear()

    def _go_on(self, steps: Steps[object], trouble: OSError | None) -> None:
        with suppress(StopIteration):
            folders = next(steps) if trouble is None else steps.throw(trouble)
            self._waiting.append((steps, tuple(folders)))

    def _trouble_with(self, folder: str) -> OSError | None:
        try:
            self._sync(folder)
        except OSError as error:
            return error
        return None
