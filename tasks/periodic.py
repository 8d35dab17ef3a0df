"""The periodic jobs, put together from tasks/housekeeping.py: what to sweep, how old it must be, and where.

Called by Celery beat through tasks/celery.py. Each returns counts for the log. Results need no job: they expire by
themselves (config/celery.py).
"""

import time
from collections import Counter
from contextlib import suppress
from functools import cache
from pathlib import Path

from config.settings import Settings
from tasks import housekeeping
from tasks.errors import IngestError
from tasks.far_source import Reach
from tasks.quarantine import Quarantine
from tasks.source import put_back_leftovers

# Older than any task may run, so that nothing which is being written is swept.
STALE_TEMPORARY_SECONDS = 3600.0
STALE_CLAIM_SECONDS = 86400.0
STALE_REMOVAL_SECONDS = 600.0
EMPTY_DIRECTORY_SECONDS = 600.0


def sweep(settings: Settings) -> dict[str, int]:
    """Remove stale temporaries and claims, put interrupted removals back, prune emptied inbox directories."""
    now = time.time()
    library = settings.library.path
    found = Counter(
        temporaries=housekeeping.sweep_temporaries(library, STALE_TEMPORARY_SECONDS, now),
        claims=housekeeping.sweep_claims(library, STALE_CLAIM_SECONDS, now),
    )
    for inbox in settings.inbox:
        if inbox.after != "keep":
            far = _reach(library, settings.limits.silence_seconds).far_inbox(inbox.path)
            with suppress(IngestError):  # it does not answer: the next round comes
                found.update(sweep_inbox(inbox.path, now) if far is None else far.ask("sweep"))
    return dict(found)


def sweep_inbox(root: Path, now: float) -> dict[str, int]:
    """Do what `sweep` does in an inbox, where nothing is kept."""
    return {
        # In inboxes too: a quarantine retry across file systems writes there.
        "temporaries": housekeeping.sweep_temporaries(root, STALE_TEMPORARY_SECONDS, now),
        "put_back": put_back_leftovers(root, STALE_REMOVAL_SECONDS),
        "directories": housekeeping.prune_empty_directories(root, EMPTY_DIRECTORY_SECONDS, now),
    }


@cache
def _reach(library: Path, silence_seconds: float) -> Reach:
    return Reach(library, silence_seconds, max_bytes=0)


def expire(settings: Settings) -> dict[str, int]:
    """Drop quarantined files that are older than `quarantine.keep`."""
    quarantine = Quarantine(settings)
    return {"quarantined": housekeeping.expire_quarantine(quarantine, settings.quarantine.keep_seconds, time.time())}
