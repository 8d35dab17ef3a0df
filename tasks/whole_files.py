"""Several whole files put in place together: all written, then synced, then renamed.

One after the other each sync would wait for a commit of the file system's journal of its own; like this most of them
find their file in a commit that has just ended. What a reader would get wrong: that all are written before any is
synced weakens nothing, because none is renamed before it is synced (invariant 3). The names are durable only when
whoever gives them has their folders synced.
"""

import os
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from tasks.durable import discard, open_temporary, read_file, set_rights, start_storing, write_all, write_whole
from tasks.library_tree import Tree, split_last

# More than a page is not written over a claim: who looks at it meanwhile would too often find a bit of both.
_PAGE_BYTES = 4096


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A file under its hidden name in an open directory; `fd` is the file's own.

    Without a hidden name of ours it is somebody's claim, and gets its name as another one of the same file.
    """

    dir_fd: int
    fd: int
    temporary: str | None
    name: str
    content: bytes


class WholeFiles:
    """Files for one tree that are being prepared; a context manager, which removes what was not put in place."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._stack = ExitStack()
        self._directories: dict[str, int] = {}
        self._prepared: dict[str, _Prepared] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for one in self._prepared.values():
            if one.temporary is not None:
                discard(one.dir_fd, one.temporary)
        self._stack.close()

    def add(self, path: str, content: bytes, *, into: int | None = None) -> None:
        """Write a file under a hidden name beside its own, directories made as needed; the disk begins to store it.

        `into` is a file of ours with a hidden name already, open for writing, the claim of a slot: it gets that content, which
        has to be longer than what it had, and no other file is made unless it does not take that. It keeps its name, and is
        closed.
        """
        folder, name = split_last(path)
        dir_fd = self._directory(folder)
        if into is not None:
            self._stack.callback(os.close, into)
            if _replaced(into, content):
                self._prepared[path] = _Prepared(dir_fd, into, None, name, content)
                start_storing(into)
                return
        fd, temporary = open_temporary(dir_fd)
        self._stack.callback(os.close, fd)
        self._prepared[path] = _Prepared(dir_fd, fd, temporary, name, content)
        set_rights(fd, self._tree.rights.file_mode, self._tree.rights.gid)
        write_all(fd, content)
        start_storing(fd)

    def add_unless_there(self, path: str, content: bytes) -> None:
        """The same for a file that may stand there already: then it stays as it is."""
        folder, name = split_last(path)
        if not _has_content(self._directory(folder), name, content):
            self.add(path, content)

    def sync(self) -> None:
        """Wait until the content of everything that was added, and has no name yet, is durable."""
        for one in self._prepared.values():
            os.fsync(one.fd)

    def show(self, paths: Iterable[str]) -> None:
        """Give those of the paths that were added their names, once their content is durable; the names are not yet."""
        wanted = list(paths)
        for path in wanted:
            if path in self._prepared:
                os.fsync(self._prepared[path].fd)
        self.name(wanted)

    def name(self, paths: Iterable[str]) -> None:
        """Give those of the paths that were added their names, replacing older files. Only after `sync`."""
        for path in paths:
            if path in self._prepared:
                self._give_name(self._prepared[path])
                del self._prepared[path]  # only now: what got no name is removed at the end

    def _give_name(self, one: _Prepared) -> None:
        if one.temporary is not None:
            os.rename(one.temporary, one.name, src_dir_fd=one.dir_fd, dst_dir_fd=one.dir_fd)
            return
        try:
            os.link(f"/proc/self/fd/{one.fd}", one.name, dst_dir_fd=one.dir_fd, follow_symlinks=True)
        except OSError:  # something stands there, the hidden name was removed, or links are not to be had
            write_whole(one.dir_fd, one.name, one.content, self._tree.rights)

    def _directory(self, folder: str) -> int:
        if folder not in self._directories:
            self._directories[folder] = self._stack.enter_context(self._tree.directory(folder, make=True))
        return self._directories[folder]


def _replaced(fd: int, content: bytes) -> bool:
    """Write content over a shorter one; False when it does not go in as a whole, and then what stood there stands again."""
    if len(content) > _PAGE_BYTES:
        return False
    before = os.pread(fd, _PAGE_BYTES, 0)
    with suppress(OSError):
        if os.pwrite(fd, content, 0) == len(content):  # XFS with blocks of 1 KiB fills its last ones and stops
            return True
    with suppress(OSError):
        os.pwrite(fd, before, 0)
        os.ftruncate(fd, len(before))
    return False


def _has_content(dir_fd: int, name: str, content: bytes) -> bool:
    try:
        facts = os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
        return facts.st_size == len(content) and read_file(dir_fd, name) == content
    except OSError:
        return False
