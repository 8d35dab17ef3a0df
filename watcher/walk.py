"""Looks at an inbox's directory tree: one file, or all candidates by a walk that can be interrupted at any entry.

Every step goes by directory descriptors with O_NOFOLLOW, so no link of an uploader leads out of the tree. Opens no file and
decides nothing about completeness. What a reader would get wrong: a walk is no snapshot; what changes behind it belongs to the
next walk, and a directory that cannot be read costs only itself.
"""

import errno
import os
import stat
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from config.rights import what_stands_in_the_way
from watcher.names import Names
from watcher.sighting import Sighting, Unseen

_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN_PARENT = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC  # asks for the x right only, not for r

_MAX_EXAMPLES = 10


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a walk stands: entries `seen`, `directories` entered, entries left out by reason, the first unreadable ones.

    `ignored` has the reasons of `names.WhyIgnored`, and "not_regular", "unreadable" and "gone". `mounts` are the first few
    directories on another file system than the root, relative to it.
    """

    finished: bool
    seen: int
    directories: int
    ignored: dict[str, int]
    unreadable: tuple[str, ...]
    mounts: tuple[str, ...]


def open_parent(root: str, path: str) -> tuple[int, str]:
    """Open the directory that holds `path` (relative to `root`), every component a real directory; give (descriptor, name).

    The descriptor is O_PATH. Raises OSError; ENOTDIR where a component is a link or no directory, or the path leads out.
    """
    *parents, name = path.split("/")
    if {"", ".", ".."} & {*parents, name}:
        raise NotADirectoryError(errno.ENOTDIR, "not a path below the root", path)
    current = os.open(root, _OPEN_PARENT)
    try:
        for parent in parents:
            below = os.open(parent, _OPEN_PARENT, dir_fd=current)
            os.close(current)
            current = below
    except OSError:
        os.close(current)
        raise
    return current, name


def see(root: str, path: str) -> Sighting | Unseen:
    """Look at one file by lstat(2), without opening it. Never raises OSError."""
    try:
        parent, name = open_parent(root, path)
    except OSError as error:
        return why_unseen(error)
    try:
        return sighting_of(path, os.stat(name, dir_fd=parent, follow_symlinks=False))
    except OSError as error:
        return why_unseen(error)
    finally:
        os.close(parent)


def sighting_of(path: str, facts: os.stat_result) -> Sighting | Unseen:
    """Make a sighting of what stat says, or "not_regular"."""
    if not stat.S_ISREG(facts.st_mode):
        return "not_regular"
    return Sighting(path, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns, facts.st_ino, facts.st_uid)


def why_unseen(error: OSError) -> Unseen:
    """Tell what an error of a look means."""
    if error.errno == errno.ENOENT:
        return "gone"
    return "not_regular" if error.errno in (errno.ENOTDIR, errno.ELOOP, errno.ENXIO) else "unreadable"


@dataclass(slots=True)
class _Level:
    """One directory on the walk's way down."""

    path: str  # "" for the root
    descriptor: int  # entries are looked at relative to it; scandir reads from a duplicate of its own
    entries: "Iterator[os.DirEntry[str]]"
    device: int


class Walk:
    """A resumable walk over the candidates of a tree, depth first: pull it forward as there is use for more.

    Holds one directory iterator for each level it is deep, so memory does not grow with the tree; two descriptors each, 130 at
    the depth limit. `below` starts in a subdirectory. Raises OSError when the root itself cannot be opened; a `below` that is
    gone, ignored or no directory is a walk that has finished.
    """

    def __init__(self, root: str, names: Names, below: str = "") -> None:
        self.seen = 0
        self.directories = 0
        self.ignored: Counter[str] = Counter()
        self.unreadable: list[str] = []
        self.mounts: list[str] = []
        self._root = root
        self._names = names
        self._stack: list[_Level] = []
        self._enter("", os.open(root, _OPEN_DIRECTORY))
        if below:
            self._start_below(root, below)

    @property
    def finished(self) -> bool:
        """Whether the whole tree was seen."""
        return not self._stack

    def progress(self) -> Progress:
        """Tell where the walk stands."""
        return Progress(
            self.finished, self.seen, self.directories, dict(self.ignored), tuple(self.unreadable), tuple(self.mounts)
        )

    def pull(self, limit: int, seconds: float) -> list[Sighting]:
        """Give the next candidates: at most `limit`, and no more after `seconds` (but one entry is always looked at)."""
        found: list[Sighting] = []
        ends_at = time.monotonic() + seconds
        while self._stack and len(found) < limit:
            entry = self._next_entry()
            if entry:
                sighting = self._look_at(entry)
                if sighting:
                    found.append(sighting)
            if time.monotonic() >= ends_at:
                break
        return found

    def close(self) -> None:
        """End the walk where it stands."""
        while self._stack:
            self._leave()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _start_below(self, root: str, below: str) -> None:
        self.close()  # the root could be opened, which is all that was asked of it
        self.directories = 0
        why = self._names.why_ignored(below, is_dir=True)
        if why:
            self.ignored[why] += 1
            return
        try:
            parent, name = open_parent(root, below)
        except OSError as error:
            self._give_up_on(below, error)
            return
        try:
            self._descend(below, name, parent)
        finally:
            os.close(parent)

    def _next_entry(self) -> "os.DirEntry[str] | None":
        """Step to the next entry; None at the end of a directory."""
        level = self._stack[-1]
        try:
            entry = next(level.entries, None)
        except OSError as error:
            self._give_up_on(level.path, error)
            entry = None
        if entry is None:
            self._leave()
        else:
            self.seen += 1
        return entry

    def _look_at(self, entry: "os.DirEntry[str]") -> Sighting | None:
        level = self._stack[-1]
        path = f"{level.path}/{entry.name}" if level.path else entry.name
        try:
            is_dir = entry.is_dir(follow_symlinks=False)
            why = self._names.why_entry_ignored(path, is_dir)
            if why:
                self.ignored[why] += 1
            elif is_dir:
                self._descend(path, entry.name, level.descriptor)
            else:
                return self._keep_regular(sighting_of(path, entry.stat(follow_symlinks=False)))
        except OSError as error:
            self._give_up_on(path, error)
        return None

    def _keep_regular(self, sighting: Sighting | Unseen) -> Sighting | None:
        if isinstance(sighting, Sighting):
            return sighting
        self.ignored[sighting] += 1
        return None

    def _descend(self, path: str, name: str, parent: int) -> None:
        try:
            descriptor = os.open(name, _OPEN_DIRECTORY, dir_fd=parent)
        except OSError as error:
            self._give_up_on(path, error)
            return
        self._enter(path, descriptor)

    def _enter(self, path: str, descriptor: int) -> None:
        try:
            device = os.fstat(descriptor).st_dev
            level = _Level(path, descriptor, os.scandir(descriptor), device)
        except OSError as error:
            os.close(descriptor)
            if not path:
                raise
            self._give_up_on(path, error)
            return
        if self._stack and self._stack[-1].device != device and len(self.mounts) < _MAX_EXAMPLES:
            self.mounts.append(path)
        self._stack.append(level)
        self.directories += 1

    def _leave(self) -> None:
        level = self._stack.pop()
        level.entries.close()  # type: ignore[attr-defined] # scandir's iterator has it, Iterator has not
        os.close(level.descriptor)

    def _give_up_on(self, path: str, error: OSError) -> None:
        why = why_unseen(error)
        self.ignored[why] += 1
        if why == "unreadable" and len(self.unreadable) < _MAX_EXAMPLES:
            self.unreadable.append(f"{path or '.'}: {self._why_not(path, error)}")

    def _why_not(self, path: str, error: OSError) -> str:
        if error.errno not in (errno.EACCES, errno.EPERM):
            return error.strerror or str(error)
        return f"{error.strerror}, {what_stands_in_the_way(self._root, path)}"
