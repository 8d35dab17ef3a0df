"""Files held aside on their way out of an inbox: how such a hidden directory is named, and how they come back.

A file that leaves stands for a moment in `.thumbdrop-removing-<random>/` beside its place, under its own name. A crash
leaves it there; it may be an upload that nobody has read yet, so these directories are put back and never swept.
"""

import os
import re
import secrets
import time
from contextlib import suppress
from pathlib import Path

from tasks.durable import DIRECTORY, opened, place
from tasks.library_names import marked_name
from tasks.walk import MAX_DEPTH, walk

REMOVING = re.compile(r"\.thumbdrop-removing-[0-9a-f]{16}")


def removing_name() -> str:
    """A name for such a directory that nobody else uses; `REMOVING` recognises it."""
    return f".thumbdrop-removing-{secrets.token_hex(8)}"


def put_back(aside_fd: int, name: str, dir_fd: int, own_name: str) -> None:
    """Return a file to the inbox under its own name, or beside it when somebody has uploaded another meanwhile."""
    wanted = own_name
    while True:
        try:
            return place(aside_fd, name, dir_fd, wanted)
        except FileExistsError:
            wanted = marked_name(own_name, secrets.token_hex(4))


def put_back_leftovers(root: Path, older_than_seconds: float, now: float | None = None) -> int:
    """Return to an inbox what crashes have left in hidden removal directories; the number of files put back.

    Only directories whose ctime is at least `older_than_seconds` before `now` (seconds since 1970, None: the clock):
    younger ones are work going on. Files go back under their own name, or beside it when it is taken by now.
    A missing root gives 0.
    """
    before, returned = (time.time() if now is None else now) - older_than_seconds, 0
    with suppress(OSError), opened(os.fspath(root), DIRECTORY) as root_fd:
        for here in walk(root_fd, _may_hold_leftovers, MAX_DEPTH + 1):
            if REMOVING.fullmatch(here.name) and os.fstat(here.fd).st_ctime <= before:
                returned += _empty_into_parent(here.fd, here.parent_fd, here.name)
    return returned


def _may_hold_leftovers(name: str) -> bool:
    return not name.startswith(".") or bool(REMOVING.fullmatch(name))


def _empty_into_parent(aside_fd: int, dir_fd: int, hidden: str) -> int:
    returned = 0
    with suppress(OSError):
        for name in os.listdir(aside_fd):
            put_back(aside_fd, name, dir_fd, name)
            returned += 1
        os.rmdir(hidden, dir_fd=dir_fd)
    return returned
