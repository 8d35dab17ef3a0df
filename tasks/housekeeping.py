"""The periodic jobs on the disk: sweep what crashes left, expire quarantine, prune empty inbox folders.

Plain functions with the time as a number; who calls them when is wired elsewhere. Ages are by ctime, which no client
can set. Whatever cannot be removed just now is passed over: the next round comes.
"""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tasks.durable import DIRECTORY, TEMPORARY, opened
from tasks.quarantine import Quarantine
from tasks.records import RecordError, from_utc
from tasks.slots import MANIFESTS
from tasks.source import put_back_leftovers
from tasks.walk import MAX_DEPTH, walk

__all__ = [
    "expire_quarantine",
    "prune_empty_directories",
    "put_back_leftovers",
    "sweep_claims",
    "sweep_temporaries",
]


def sweep_temporaries(root: Path, older_than_seconds: float, now: float) -> int:
    """Delete our hidden temporary files below a library or an inbox; the number of files deleted.

    Only by our own pattern of names, and only older than a task may take to write and rename one.
    """
    return _sweep(root, lambda name: bool(TEMPORARY.fullmatch(name)), now - older_than_seconds)


def sweep_claims(library: Path, older_than_seconds: float, now: float) -> int:
    """Delete claims that nobody has touched for so long; the number of claims deleted.

    A claim's work was given up, or its manifest stands and reserves the slot by itself.
    """
    is_claim = lambda name: name.startswith(".") and name.endswith(".claim")  # noqa: E731
    return _sweep(library / MANIFESTS, is_claim, now - older_than_seconds)


def expire_quarantine(quarantine: Quarantine, keep_seconds: float, now: float) -> int:
    """Drop entries that have been in quarantine for longer than that; the number of entries dropped."""
    dropped = 0
    for entry in quarantine.entries():
        with suppress(RecordError):
            if from_utc(entry.finding.quarantined_at) < now - keep_seconds:
                quarantine.drop(entry)
                dropped += 1
    return dropped


def prune_empty_directories(inbox_root: Path, older_than_seconds: float, now: float) -> int:
    """Remove empty folders of an inbox in which nothing has happened for so long; the number of folders removed.

    Never the root, never a hidden one. A folder that loses its last folder begins to wait then.
    """
    removed = 0
    with suppress(OSError), opened(os.fspath(inbox_root), DIRECTORY) as root_fd:
        for here in walk(root_fd, lambda name: not name.startswith(".")):
            if here.parent_fd >= 0 and os.fstat(here.fd).st_ctime <= now - older_than_seconds:
                with suppress(OSError):  # not empty, mostly
                    os.rmdir(here.name, dir_fd=here.parent_fd)
                    removed += 1
    return removed


def _sweep(root: Path, is_ours: Callable[[str], bool], before: float) -> int:
    removed = 0
    with suppress(OSError), opened(os.fspath(root), DIRECTORY) as root_fd:
        for here in walk(root_fd, depth=MAX_DEPTH + 4):
            with os.scandir(here.fd) as entries:
                for name in [entry.name for entry in entries if is_ours(entry.name)]:
                    removed += _unlink_older(here.fd, name, before)
    return removed


def _unlink_older(dir_fd: int, name: str, before: float) -> bool:
    with suppress(OSError):
        if os.stat(name, dir_fd=dir_fd, follow_symlinks=False).st_ctime <= before:
            os.unlink(name, dir_fd=dir_fd)
            return True
    return False
