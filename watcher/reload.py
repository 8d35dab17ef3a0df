"""What of changed settings a running watcher takes over, and what waits for a restart: pure.

What a reader would get wrong: the watcher uses few settings. Those of the library, the thumbnails and the like are the
workers', which read them when they start; they are named all the same, or nobody would know why nothing changed.
"""

import re
from dataclasses import dataclass

from config.settings import InboxSettings, Settings
from config.tree import leaves

# Where an inbox lies and what it is called is known to leases, messages and the observer: those wait for a restart.
_OF_INBOXES = ("settle", "ignore", "suffixes", "watch", "require_mount")
_ATTRIBUTES = ("settle_seconds", "ignore", "suffixes", "watch", "require_mount")
_RELOADED = re.compile(rf"inbox\[\d+\]\.({'|'.join(_OF_INBOXES)})|watcher\.rescan|limits\.empty_grace")


@dataclass(frozen=True, slots=True)
class Reload:
    """The settings as they are from now on; the keys that changed in them; the keys that wait for a restart."""

    settings: Settings
    taken: tuple[str, ...]
    waiting: tuple[str, ...]

    def is_about(self, old: InboxSettings, new: InboxSettings) -> bool:
        """Whether an inbox has to be looked at anew."""
        is_another = any(getattr(old, name) != getattr(new, name) for name in _ATTRIBUTES)
        return is_another or any("inbox[" not in key for key in self.taken)


def reloaded(now: Settings, wanted: Settings) -> Reload:
    """Take from `wanted` what can change while the watcher runs."""
    old, new = dict(leaves(now.as_written())), dict(leaves(wanted.as_written()))
    changed = [key for key in {**old, **new} if old.get(key) != new.get(key)]
    has_same_inboxes = [(one.name, one.path) for one in now.inbox] == [(one.name, one.path) for one in wanted.inbox]
    taken = [key for key in changed if _RELOADED.fullmatch(key) and (has_same_inboxes or "inbox[" not in key)]
    settings = now.model_copy(
        update={
            "inbox": wanted.inbox if has_same_inboxes else now.inbox,
            "watcher": now.watcher.model_copy(update={"rescan_seconds": wanted.watcher.rescan_seconds}),
            "limits": now.limits.model_copy(update={"empty_grace_seconds": wanted.limits.empty_grace_seconds}),
        }
    )
    return Reload(settings, tuple(taken), tuple(key for key in changed if key not in taken))
