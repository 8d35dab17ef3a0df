"""The checks of `thumbdrop check` that look at directories: rights, room, file systems, inotify.

The library is written to for real (watcher/check_writing.py); an inbox is only asked, because it belongs to others. What a reader would get wrong: rights are those of whoever runs
the check, so run it as the user that Thumbdrop runs as.
"""

import grp
import os
import pwd
import time

from config.mounts import is_network, read_mounts
from config.settings import InboxSettings, Settings
from config.urls import state_dir
from tasks.errors import ResourceError
from tasks.library_tree import Tree
from watcher.check_writing import check_writing
from watcher.finding import Finding
from watcher.mounts import Layout, Offline, check_root, choose_backend
from watcher.names import Names
from watcher.walk import Walk
from watcher.wording import counted

_COUNT_SECONDS = 5.0
_INOTIFY = "/proc/sys/fs/inotify"


def check_library(settings: Settings) -> list[Finding]:
    """Look whether the library and the state directory can be written, and have room."""
    root = os.fspath(settings.library.path)
    if not os.path.isdir(root):
        return [
            Finding("failed", f"library {root}: not there", f"mkdir -p {root}, or mount it; `thumbdrop up` creates it")
        ]
    group = check_group(settings.library.group)
    if group and group[0].verdict == "failed":
        return group
    found = [check_writing(root, _me()), *_check_room(settings), *group]
    state = os.fspath(state_dir(settings))
    if os.path.isdir(state) and not os.access(state, os.R_OK | os.W_OK | os.X_OK):
        found.append(Finding("failed", f"state {state}: {_me()} may not write it", f"chown {_me()} {state}"))
    return found


def _check_room(settings: Settings) -> list[Finding]:
    try:
        Tree(settings.library).check_room()
    except ResourceError as error:
        return [Finding("failed", error.message, error.hint)]
    return [Finding("ok", f"library {settings.library.path}: more free than min_free")]


def check_group(name: str) -> list[Finding]:
    """Look whether the library's group is there and this user may give files to it."""
    if not name:
        return []
    try:
        gid = grp.getgrnam(name).gr_gid
    except KeyError:
        return [Finding("failed", f"library.group: there is no group {name}", f"groupadd {name}")]
    if os.geteuid() != 0 and gid not in {os.getegid(), *os.getgroups()}:
        return [Finding("failed", f"library.group: {_me()} is not in {name}", f"usermod -aG {name} {_me()}")]
    return [Finding("ok", f"library.group: {name}")]


def check_inbox(inbox: InboxSettings, settings: Settings) -> list[Finding]:
    """Look whether an inbox can be read and emptied, and how changes in it are noticed."""
    root, name = os.fspath(inbox.path), f"inbox {inbox.name}"
    online = check_root(root, None, require_mount=inbox.require_mount)
    if isinstance(online, Offline):
        return [Finding("failed", f"{name}: {online.why}", "create or mount it; `thumbdrop up` creates it")]
    return [_check_rights(inbox, root), *_check_backend(inbox, root), *_check_neighbour(name, root, settings)]


def _check_rights(inbox: InboxSettings, root: str) -> Finding:
    needed = os.R_OK | os.X_OK if inbox.after == "keep" else os.R_OK | os.W_OK | os.X_OK
    if os.access(root, needed):
        doing = "read" if inbox.after == "keep" else "read and empty"
        return Finding("ok", f"inbox {inbox.name}: {_me()} can {doing} {root}")
    remedy = (
        f'let {_me()} write {root}, or set after = "keep"' if os.access(root, os.R_OK) else f"let {_me()} read {root}"
    )
    return Finding("failed", f"inbox {inbox.name}: {_me()} lacks rights on {root}", remedy)


def _check_backend(inbox: InboxSettings, root: str) -> list[Finding]:
    layout = Layout(root, read_mounts())
    backend = choose_backend(inbox.watch, layout.fstype)
    found = [Finding("ok", f"inbox {inbox.name}: {backend.name}, {backend.why}")]
    if inbox.watch == "inotify" and is_network(layout.fstype):
        what = f"inbox {inbox.name}: {layout.fstype} tells nothing of changes made on other machines"
        found.append(Finding("warning", what, 'set watch = "auto" or "poll"'))
    return found


def _check_neighbour(name: str, root: str, settings: Settings) -> list[Finding]:
    library = os.fspath(settings.library.path)
    if not os.path.isdir(library) or os.stat(root).st_dev == os.stat(library).st_dev:
        return []
    return [
        Finding("note", f"{name}: on another file system than the library, so originals are copied and not renamed")
    ]


def check_inotify(settings: Settings) -> list[Finding]:
    """Compare the directories of the watched inboxes with the kernel's limit."""
    watched = [inbox for inbox in settings.inbox if _is_watched(inbox)]
    directories = sum(_count_directories(inbox) for inbox in watched)
    if not watched:
        return []
    return judge_inotify(directories, _limit("max_user_watches"), _limit("max_user_instances"))


def judge_inotify(directories: int, max_watches: int, max_instances: int) -> list[Finding]:
    """Judge the kernel's limits; pure. Other programs of this user share them, so half of it has to be enough."""
    if max_instances < 1:
        return [Finding("failed", "inotify: no instance is allowed", "sysctl fs.inotify.max_user_instances=128")]
    what = f"inotify: {counted(directories, 'directory', 'directories')} to watch"
    if directories * 2 > max_watches:
        remedy = f"sysctl fs.inotify.max_user_watches={max(524_288, directories * 4)}; without it they are polled"
        return [Finding("warning", f"{what}, the limit is {max_watches} for all programs of {_me()}", remedy)]
    return [Finding("ok", f"{what}, the limit is {max_watches}")]


def _is_watched(inbox: InboxSettings) -> bool:
    root = os.fspath(inbox.path)
    return os.path.isdir(root) and choose_backend(inbox.watch, Layout(root, read_mounts()).fstype).name == "inotify"


def _count_directories(inbox: InboxSettings) -> int:
    deadline = time.monotonic() + _COUNT_SECONDS
    with Walk(os.fspath(inbox.path), Names(inbox.ignore, inbox.suffixes)) as walk:
        while not walk.finished and time.monotonic() < deadline:
            walk.pull(1000, 0.2)
        return walk.directories


def _limit(name: str) -> int:
    with open(f"{_INOTIFY}/{name}", encoding="ascii") as file:
        return int(file.read())


def _me() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return f"uid {os.geteuid()}"
