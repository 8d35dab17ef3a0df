"""What stands in an inbox at this moment, counted by a walk of our own: for `status`, which must not trust a watcher.

What a reader would get wrong: a network mount is not even looked at, because that may hang and then nobody could end this
command, and an inbox whose files stay there when they are done is not walked; for both the watcher's own words count.
Where the time ends before the walk does, what was counted until then is told, and that there are more.
"""

import os
import time
from dataclasses import dataclass

from config.mounts import read_mounts
from config.settings import InboxSettings
from watcher.mounts import Layout, Offline, check_root
from watcher.names import Names
from watcher.walk import Walk

_ENTRIES_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class Standing:
    """The candidates in an inbox, and the Unix time at which the longest waiting one last changed.

    `files` is None where they were not counted; with `has_more` there are at least so many, and `oldest_at` is that of
    those. `offline_why` is "" for an inbox that can be read.
    """

    files: int | None = None
    has_more: bool = False
    oldest_at: float | None = None
    offline_why: str = ""


def count_standing(inbox: InboxSettings, seconds: float) -> Standing:
    """Count the candidates of an inbox, for at most `seconds`; never looks at a network file system."""
    root = os.fspath(inbox.path)
    network_parts = Layout(root, read_mounts()).network_parts
    if "" in network_parts:
        return Standing()
    found = check_root(root, None, require_mount=inbox.require_mount)
    if isinstance(found, Offline):
        return Standing(offline_why=found.why)
    if inbox.after == "keep" or network_parts:
        return Standing()
    return _walked(root, Names(inbox.ignore, inbox.suffixes), time.monotonic() + seconds)


def _walked(root: str, names: Names, deadline: float) -> Standing:
    files, oldest_ns = 0, None
    with Walk(root, names) as walk:
        while not walk.finished and time.monotonic() < deadline:
            seen = walk.pull(_ENTRIES_AT_ONCE, 0.1)
            files += len(seen)
            oldest_ns = min([oldest_ns or time.time_ns(), *(one.ctime_ns for one in seen)]) if seen else oldest_ns
        return Standing(files, not walk.finished, None if oldest_ns is None else oldest_ns / 1e9)
