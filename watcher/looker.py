"""Looks into one inbox's directory tree as it is asked to: in the watcher's own process, or as a program in a child's.

As a program it reads the rules, then questions, each a line, from standard input and answers by standard output. What a reader
would get wrong: it has no deadline; whoever asks must be ready for no answer at all (see `watcher.tree`).
"""

import os
import signal
import sys

from watcher.mounts import check_root
from watcher.names import Names
from watcher.tree_messages import (
    BeginWalk,
    CheckRoot,
    Failed,
    Look,
    Looked,
    Pull,
    Pulled,
    Reply,
    Request,
    Seen,
    from_line,
    to_line,
)
from watcher.walk import Walk, see
from watcher.writers import ignore_sigio, see_with_writer


class Looker:
    """Does what is asked; holds the walks under way."""

    def __init__(self, root: str, names: Names) -> None:
        self._root = root
        self._names = names
        self._walks: dict[str, Walk] = {}

    def answer(self, request: Request) -> Reply:
        """Do what is asked; what goes wrong with the tree is `Failed`."""
        try:
            return self._answer(request)
        except OSError as error:
            return Failed(f"could not look into {self._root}: {error.strerror}")

    def close(self) -> None:
        """End the walks."""
        for walk in self._walks.values():
            walk.close()
        self._walks.clear()

    def _answer(self, request: Request) -> Reply:
        match request:
            case Look(paths, test_writers):
                return Looked(tuple(self._see(path, test_writers=test_writers) for path in paths))
            case BeginWalk(walk, below):
                return self._begin(walk, below)
            case Pull(walk, limit, seconds):
                return self._pull(walk, limit, seconds)
            case CheckRoot(expected, require_mount):
                return check_root(self._root, expected, require_mount=require_mount)

    def _see(self, path: str, *, test_writers: bool) -> Seen:
        if test_writers:
            return Seen(path, *see_with_writer(self._root, path))
        return Seen(path, see(self._root, path), None)

    def _begin(self, name: str, below: str) -> Reply:
        if before := self._walks.pop(name, None):
            before.close()
        walk = self._walks[name] = Walk(self._root, self._names, below)
        return Pulled(name, (), walk.progress())

    def _pull(self, name: str, limit: int, seconds: float) -> Reply:
        walk = self._walks.get(name)
        if walk is None:
            return Failed(f"no walk {name!r} is under way")
        found = tuple(walk.pull(limit, seconds))
        if walk.finished:
            del self._walks[name]
        return Pulled(name, found, walk.progress())


def main() -> None:
    """Answer the questions that come in by standard input, until it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ignore_sigio()
    questions, answers = sys.stdin.buffer, sys.stdout.buffer
    rules = from_line(questions.readline() or b"{}")
    looker = Looker(sys.argv[1], Names(tuple(rules.get("ignore", ())), tuple(rules.get("suffixes", ()))))
    try:
        for line in questions:
            answers.write(to_line(looker.answer(from_line(line))))
            answers.flush()
    except BrokenPipeError:
        os._exit(0)  # nobody is left to answer to; the usual way out would try to write what is left


if __name__ == "__main__":
    main()
