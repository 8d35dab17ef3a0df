"""The checks of `thumbdrop check` that look at directories: rights, room, file systems, clocks.

The library is written to for real (watcher/check_writing.py); an inbox is only asked, because it belongs to others. What a reader would get wrong: rights are those of whoever runs
the check, so run it as the user that Thumbdrop runs as.
"""

import errno
import grp
import os
import pwd
import time
from contextlib import suppress

from config.mounts import is_network, read_mounts
from config.settings import InboxSettings, Settings
from config.urls import state_dir
from tasks.durable import temporary_name
from tasks.errors import ResourceError
from tasks.library_tree import Tree
from watcher.check_rights import check_rights
from watcher.check_writing import check_writing
from watcher.finding import Finding
from watcher.mounts import Layout, Offline, check_root, choose_backend
from watcher.wording import roughly

MAX_SKEW_SECONDS = 60.0


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
    found = [check_writing(root, whoever()), *_check_room(settings), *_check_clock(root), *group]
    state = os.fspath(state_dir(settings))
    if os.path.isdir(state) and not os.access(state, os.R_OK | os.W_OK | os.X_OK):
        found.append(Finding("failed", f"state {state}: {whoever()} may not write it", f"chown {whoever()} {state}"))
    return found


def _check_room(settings: Settings) -> list[Finding]:
    try:
        Tree(settings.library).check_room()
    except ResourceError as error:
        return [Finding("failed", error.message, error.hint)]
    return [Finding("ok", f"library {settings.library.path}: more free than min_free")]


def _check_clock(root: str) -> list[Finding]:
    """Compare the time that the library's file system gives to a new file with our own."""
    path = os.path.join(root, temporary_name())
    try:
        with open(path, "xb"):
            ahead = os.stat(path).st_mtime - time.time()
    except OSError:
        return []  # said by check_writing
    finally:
        with suppress(OSError):
            os.unlink(path)
    return judge_clock(f"library {root}", ahead)


def judge_clock(what: str, ahead_seconds: float) -> list[Finding]:
    """Judge by how much another clock is ahead of ours; pure."""
    if abs(ahead_seconds) <= MAX_SKEW_SECONDS:
        return []
    told = f"{roughly(abs(ahead_seconds))} {'ahead of' if ahead_seconds > 0 else 'behind'} ours"
    return [Finding("warning", f"{what}: its clock is {told}", "run an NTP client on both machines")]


def check_group(name: str) -> list[Finding]:
    """Look whether the library's group is there and this user may give files to it."""
    if not name:
        return []
    try:
        gid = grp.getgrnam(name).gr_gid
    except KeyError:
        return [Finding("failed", f"library.group: there is no group {name}", f"groupadd {name}")]
    if os.geteuid() != 0 and gid not in {os.getegid(), *os.getgroups()}:
        return [Finding("failed", f"library.group: {whoever()} is not in {name}", f"usermod -aG {name} {whoever()}")]
    return [Finding("ok", f"library.group: {name}")]


def check_inbox(inbox: InboxSettings, settings: Settings) -> list[Finding]:
    """Look whether an inbox can be read and emptied, and how changes in it are noticed."""
    root, name = os.fspath(inbox.path), f"inbox {inbox.name}"
    online = check_root(root, None, require_mount=inbox.require_mount)
    if isinstance(online, Offline):
        return [Finding("failed", f"{name}: {online.why}", "create or mount it; `thumbdrop up` creates it")]
    return [*check_rights(inbox, whoever()), *_check_backend(inbox, root), *_check_neighbour(name, root, settings)]


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
    if not os.path.isdir(library) or _can_rename(root, library):
        return []
    if os.stat(root).st_dev != os.stat(library).st_dev:
        return [
            Finding("note", f"{name}: on another file system than the library, so originals are copied and not renamed")
        ]
    what = f"{name}: another mount of the library's own file system, so originals are copied and not renamed"
    return [Finding("note", what, "use one mount above both: one path in ReadWritePaths=, one bind mount")]


def _can_rename(source: str, target: str) -> bool:
    """Ask the kernel with a name that is not there: it compares the mounts before it looks for the file (rename(2), EXDEV)."""
    name = temporary_name()
    try:
        os.rename(os.path.join(source, name), os.path.join(target, name))
    except OSError as error:
        return error.errno != errno.EXDEV
    return True


def whoever() -> str:
    """Name the user that we are."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return f"uid {os.geteuid()}"
