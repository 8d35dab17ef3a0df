"""The check of `thumbdrop check` that compares what is to be watched with the kernel's limits on inotify.

What a reader would get wrong: the limits are those of all programs of one user together, and where /proc/sys is hidden
(ProcSubset=pid in a systemd unit) nobody can read them, which is no failure.
"""

import os
import time

from config.mounts import read_mounts
from config.settings import InboxSettings, Settings
from watcher.finding import Finding
from watcher.mounts import Layout, choose_backend
from watcher.names import Names
from watcher.walk import Walk
from watcher.watch_limits import sysctl
from watcher.wording import counted

_COUNT_SECONDS = 5.0
# The kernel's own default. A burst of more events than this between two looks is made good by a scan.
_QUEUED_EVENTS = 16_384


def check_inotify(settings: Settings, user: str) -> list[Finding]:
    """Compare the inboxes that are watched, and the directories in them, with the kernel's limits; `user` is who we are."""
    watched = [inbox for inbox in settings.inbox if _is_watched(inbox)]
    if not watched:
        return []
    names = ("max_user_watches", "max_user_instances", "max_queued_events")
    limits = [sysctl(f"fs.inotify.{name}") for name in names]
    directories = sum(_count_directories(inbox) for inbox in watched)
    return judge_inotify(len(watched), directories, *limits, user=user)


def judge_inotify(
    inboxes: int, directories: int, watches: int | None, instances: int | None, events: int | None, *, user: str
) -> list[Finding]:
    """Judge the kernel's limits, None where they cannot be read; pure. Half of each has to be enough: others share them."""
    what = f"inotify: {counted(directories, 'directory', 'directories')} to watch"
    if watches is None or instances is None or events is None:
        why = "its limits cannot be read here: /proc/sys is hidden, as by ProcSubset=pid in a systemd unit"
        return [Finding("note", f"{what}; {why}", "run the check outside of it")]
    found = []
    if inboxes * 2 > instances:
        told = f"inotify: {counted(inboxes, 'inbox', 'inboxes')} to watch, and {instances} may be for all programs of {user}"
        remedy = f"{_sysctl('max_user_instances', max(1024, inboxes * 4))}; without it they are polled"
        found.append(Finding("failed" if instances < 1 else "warning", told, remedy))
    if directories * 2 > watches:
        remedy = f"{_sysctl('max_user_watches', max(524_288, directories * 4))}; without it they are polled"
        found.append(Finding("warning", f"{what}, the limit is {watches} for all programs of {user}", remedy))
    if events < _QUEUED_EVENTS:
        told = f"inotify: only {events} events may wait, so that bursts of uploads are noticed by the next scan alone"
        found.append(Finding("warning", told, _sysctl("max_queued_events", _QUEUED_EVENTS)))
    return found or [Finding("ok", f"{what}, the limit is {watches}")]


def _sysctl(name: str, value: int) -> str:
    return f"sysctl fs.inotify.{name}={value}, and the same in /etc/sysctl.d/thumbdrop.conf"


def _is_watched(inbox: InboxSettings) -> bool:
    root = os.fspath(inbox.path)
    return os.path.isdir(root) and choose_backend(inbox.watch, Layout(root, read_mounts()).fstype).name == "inotify"


def _count_directories(inbox: InboxSettings) -> int:
    deadline = time.monotonic() + _COUNT_SECONDS
    with Walk(os.fspath(inbox.path), Names(inbox.ignore, inbox.suffixes)) as walk:
        while not walk.finished and time.monotonic() < deadline:
            walk.pull(1000, 0.2)
        return walk.directories
