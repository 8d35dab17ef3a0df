"""Whose a file is and who may do what with it, in words: what an operator needs to know when rights stand in the way."""

import os
import pwd
import stat
from contextlib import suppress


def rights_of(facts: os.stat_result) -> str:
    """Mode and owner, like "mode 0640 and owner sftp (1003)"."""
    owner = str(facts.st_uid)
    with suppress(KeyError):
        owner = f"{pwd.getpwuid(facts.st_uid).pw_name} ({owner})"
    return f"mode {stat.S_IMODE(facts.st_mode):04o} and owner {owner}"


def what_stands_in_the_way(root: str, path: str) -> str:
    """Name the last part of `path` (relative to `root`) that can be looked at, with its rights, and who we are.

    That is the one that refused: whoever may not enter a directory cannot look at what is in it.
    """
    seen, facts = ".", os.lstat(root)
    parts = path.split("/")
    with suppress(OSError):
        for end in range(1, len(parts) + 1):
            below = "/".join(parts[:end])
            facts = os.lstat(os.path.join(root, below))
            seen = below
    return f"{seen!r} has {rights_of(facts)}, we run as uid {os.geteuid()}"
