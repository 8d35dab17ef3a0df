"""The check of `thumbdrop check` that asks whether an inbox can be read and emptied, and whether that will stay so.

Only asks: an inbox belongs to others. What a reader would get wrong: to take a file out of a directory needs the right to
write that directory, whoever owns the file, so it is the directories that uploaders make which get in the way later.
"""

import grp
import os
import stat
import time
from collections.abc import Iterator
from contextlib import suppress

from config.logs import printable
from config.rights import rights_of
from config.settings import InboxSettings
from watcher.finding import Finding

_LOOK_SECONDS = 3.0


def check_rights(inbox: InboxSettings, user: str) -> list[Finding]:
    """Look whether we, `user`, may read an inbox and take files out of it, and its sub-directories."""
    root, name = os.fspath(inbox.path), f"inbox {inbox.name}"
    needed = os.R_OK | os.X_OK if inbox.after == "keep" else os.R_OK | os.W_OK | os.X_OK
    doing = "read" if inbox.after == "keep" else "read and empty"
    if not os.access(root, needed):
        remedy = f"{_remedy(root, user)}{who_else_forbids(root, needed)}"
        if inbox.after != "keep" and os.access(root, os.R_OK | os.X_OK):
            remedy += ', or set after = "keep"'
        return [
            Finding("failed", f"{name}: {user} lacks rights on {root}, which has {rights_of(os.stat(root))}", remedy)
        ]
    found = [Finding("ok", f"{name}: {user} can {doing} {root}")]
    refused = next((path for path in _directories(root) if not os.access(path, needed)), None)
    if refused:
        what = f"{name}: {user} cannot {doing} {printable(refused)}, which has {rights_of(os.stat(refused))}"
        remedy = (
            f"{_remedy(refused, user)}{who_else_forbids(refused, needed)}; see umask of whoever makes directories there"
        )
        found.append(Finding("warning", what, remedy))
    return [*found, *judge_sharing(name, root, os.stat(root), is_acl=_has_default_acl(root))]


def judge_sharing(name: str, root: str, facts: os.stat_result, *, is_acl: bool) -> list[Finding]:
    """Judge whether what a group makes in an inbox will be the group's; pure."""
    mode = facts.st_mode
    if not mode & stat.S_IWGRP or mode & stat.S_ISGID or is_acl:
        return []
    what = f"{name}: its group may upload, but directories that its members make will belong to other groups"
    return [Finding("warning", what, f"chmod g+s {root}")]


def who_else_forbids(path: str, needed: int) -> str:
    """Say which security module to ask, where mode and owner would allow what was refused; "" when they do not."""
    if not _mode_allows(os.stat(path), needed):
        return ""
    if _read("/sys/fs/selinux/enforce") == "1":
        return "; mode and owner allow it, so ask SELinux: ausearch -m avc -ts recent, then semanage fcontext and restorecon"
    if _read("/sys/module/apparmor/parameters/enabled") == "Y":
        return "; mode and owner allow it, so ask AppArmor: journalctl -k -g apparmor"
    return "; mode and owner allow it: an access list (getfacl), or a mount or a sandbox that is read-only"


def _mode_allows(facts: os.stat_result, needed: int) -> bool:
    if os.geteuid() == 0:
        return True
    if facts.st_uid == os.geteuid():
        allowed = facts.st_mode >> 6
    elif facts.st_gid in {os.getegid(), *os.getgroups()}:
        allowed = facts.st_mode >> 3
    else:
        allowed = facts.st_mode
    return allowed & needed == needed


def _remedy(path: str, user: str) -> str:
    """The command that lets `user` in: by the group, because the owner is whoever uploads."""
    facts = os.stat(path)
    if facts.st_gid in {os.getegid(), *os.getgroups()}:
        return f"chmod g+rwxs {printable(path)}"
    with suppress(KeyError):
        group = grp.getgrgid(facts.st_gid).gr_name
        if facts.st_mode & stat.S_IRWXG == stat.S_IRWXG and group != "root":
            return f"usermod -aG {group} {user}, and start its services again"
    return f"chgrp {user} {printable(path)} && chmod g+rwxs {printable(path)}"


def _directories(root: str) -> Iterator[str]:
    """The directories below `root`, for a few seconds at most."""
    until = time.monotonic() + _LOOK_SECONDS
    for folder, names, _ in os.walk(root):
        if time.monotonic() > until:
            return
        yield from (path for one in names if not os.path.islink(path := os.path.join(folder, one)))


def _has_default_acl(path: str) -> bool:
    with suppress(OSError):
        return bool(os.getxattr(path, "system.posix_acl_default"))
    return False


def _read(file: str) -> str:
    try:
        with open(file, encoding="ascii") as opened:
            return opened.read().strip()
    except OSError:
        return ""
