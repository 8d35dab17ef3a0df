"""How long an inbox waits, by what it lies on and how it is watched: for a file to settle, and between two scans.

Pure. What a reader would get wrong: `settle = "auto"` depends on the file, because a network mount may lie inside a local inbox.
"""

from watcher.rescan import Rescan
from watcher.settle import Rules

LOCAL_SETTLE_SECONDS = 2.0  # SFTP clients chmod and utime by path after the close, and would fail on a moved file
NETWORK_SETTLE_SECONDS = 30.0  # attribute caches answer for 3 s (NFS) to 20 s (sshfs)

INOTIFY_SHARE = 0.05  # a scan is only the safety net there
POLL_SHARE = 0.5  # there it is how anything is noticed at all
POLL_SECONDS = 1.0  # the shortest pause of a polled inbox; with nothing to look at, a scan costs microseconds
UNWATCHED_SECONDS = 5.0  # how often a tree is scanned of which parts could not be watched


def rules_for(settle_seconds: float | None, empty_grace_seconds: float, *, is_network: bool) -> Rules:
    """Make the rules by which a file settles; `settle_seconds` None is "auto"."""
    if settle_seconds is None:
        settle_seconds = NETWORK_SETTLE_SECONDS if is_network else LOCAL_SETTLE_SECONDS
    return Rules(settle_seconds, empty_grace_seconds, is_network)


def rescan_for(rescan_seconds: float, *, is_polled: bool, is_short_of_watches: bool) -> Rescan:
    """Make the clock of an inbox's scans; `rescan_seconds` is what the settings say."""
    if is_polled:
        return Rescan(POLL_SECONDS, POLL_SHARE)
    if is_short_of_watches:
        return Rescan(min(rescan_seconds, UNWATCHED_SECONDS), POLL_SHARE)
    return Rescan(rescan_seconds, INOTIFY_SHARE)
