"""What an inbox reports of itself for `thumbdrop status`: JSON primitives, put together from its parts.

What a reader would get wrong: `waiting` are the files in its tables, no more than a window of a backlog; `waiting_has_more`
says when a scan knows of more, or has not seen all yet.
"""

from typing import Any

from watcher.arming import Arming
from watcher.looks import Looks
from watcher.walks import Walks


def report(arming: Arming, walks: Walks, looks: Looks, now: float, clock: float) -> dict[str, Any]:
    """Put the report together; `now` is monotonic, `clock` the wall clock in seconds."""
    rescan = walks.rescan
    finished = rescan.finished_at
    return {
        "online": arming.is_online,
        "offline_why": arming.offline_why,
        "backend": arming.backend.name,
        "why": arming.backend.why,
        "watches": arming.watches,
        "scan": {
            "running": rescan.running,
            "finished_at": None if finished is None else clock - (now - finished),
            "seconds": rescan.spent_seconds,
            "files": rescan.files,
        },
        "waiting": looks.pending.counts() | {"ready": looks.ready},
        "waiting_has_more": rescan.running and (finished is None or looks.ready > 0),
        "ignored": walks.ignored,
        "unreadable": list(walks.unreadable),
        "missed_events": looks.hearing.missed,
        "troubles": arming.troubles(now),
    }
