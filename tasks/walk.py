"""Walk a directory tree by descriptors, for housekeeping and for looking through quarantine.

No link is ever followed below the root, no path is ever too long, and memory is bounded by the depth. Directories
that may not be read, or vanish meanwhile, are passed over: another walk comes.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

from tasks.durable import DIRECTORY

# The watcher leaves deeper directories alone too; each level costs two descriptors while the walk is in it.
MAX_DEPTH = 64


@dataclass(frozen=True, slots=True)
class Visited:
    """A directory of the walk: `fd` is open until the walk goes on; `parent_fd` is -1 and `parts` () for the root."""

    fd: int
    parent_fd: int
    parts: tuple[str, ...]

    @property
    def name(self) -> str:
        """Its own name, "" for the root."""
        return self.parts[-1] if self.parts else ""


def walk(root_fd: int, enters: Callable[[str], bool] = bool, depth: int = MAX_DEPTH) -> Iterator[Visited]:
    """Every directory below and including the root, children before their parent; `enters` picks them by name (all).

    Raises OSError only for the root itself.
    """
    yield from _below(Visited(root_fd, -1, ()), enters, depth)


def _below(here: Visited, enters: Callable[[str], bool], depth: int) -> Iterator[Visited]:
    with os.scandir(here.fd) as entries:
        for entry in entries if depth > 0 else ():
            if not enters(entry.name) or not entry.is_dir(follow_symlinks=False):
                continue
            with suppress(OSError):
                fd = os.open(entry.name, DIRECTORY | os.O_NOFOLLOW, dir_fd=here.fd)
                try:
                    yield from _below(Visited(fd, here.fd, (*here.parts, entry.name)), enters, depth - 1)
                finally:
                    os.close(fd)
    yield here
