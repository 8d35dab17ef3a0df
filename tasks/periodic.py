"""The periodic jobs, put together from tasks/housekeeping.py: what to sweep, how old it must be, and where.

Called by Celery beat through tasks/celery.py. Each returns counts for the log. Results need no job: they expire by
themselves (config/celery.py).
"""

import time

from config.settings import Settings
from tasks import housekeeping
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
    emptied = [inbox.path for inbox in settings.inbox if inbox.after != "keep"]
    return {
        # In inboxes too: a quarantine retry across file systems writes there.
        "temporaries": sum(
            housekeeping.sweep_temporaries(r, STALE_TEMPORARY_SECONDS, now) for r in (library, *emptied)
        ),
        "claims": housekeeping.sweep_claims(library, STALE_CLAIM_SECONDS, now),
        "put_back": sum(put_back_leftovers(root, STALE_REMOVAL_SECONDS) for root in emptied),
        "directories": sum(housekeeping.prune_empty_directories(r, EMPTY_DIRECTORY_SECONDS, now) for r in emptied),
    }


def expire(settings: Settings) -> dict[str, int]:
    """Drop quarantined files that are older than `quarantine.keep`."""
    quarantine = Quarantine(settings)
    return {"quarantined": housekeeping.expire_quarantine(quarantine, settings.quarantine.keep_seconds, time.time())}
