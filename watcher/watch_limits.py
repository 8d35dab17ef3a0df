"""The kernel's limits on inotify: which sysctl sets the one that counts here, how much it allows, and what would be enough.

What a reader would get wrong: in a container or user namespace the limit may be that namespace's own, see namespaces(7).
"""

import errno

_PROC_SYS = "/proc/sys"
ENOUGH = 524_288  # costs about 1 kB each, and only while used

_WATCHES = ("fs.inotify.max_user_watches", "user.max_inotify_watches")
_INSTANCES = ("fs.inotify.max_user_instances", "user.max_inotify_instances")


def watch_limit() -> int:
    """How many directories all programs of this user may watch; 0 when the kernel does not say."""
    return _lowest(_WATCHES)[1]


def remedy_for(code: int, needed: int) -> str:
    """The command that helps when inotify refuses with this errno; `needed` watches, or 0 when nobody knows."""
    if code == errno.EMFILE:
        return f"sysctl {_lowest(_INSTANCES)[0]}=1024"
    if code == errno.ENOSPC:
        return f"sysctl {_lowest(_WATCHES)[0]}={max(ENOUGH, needed * 4)}"
    return "see `thumbdrop check`"


def _lowest(names: tuple[str, ...]) -> tuple[str, int]:
    """The name and value of the lowest of these; the first of equal ones."""
    known = [(name, value) for name in names if (value := sysctl(name)) is not None]
    return min(known, key=lambda one: one[1], default=(names[0], 0))


def sysctl(name: str) -> int | None:
    """The number that a kernel setting has, by its dotted name; None when the kernel does not say."""
    try:
        with open(f"{_PROC_SYS}/{name.replace('.', '/')}", encoding="ascii") as file:
            return int(file.read())
    except (OSError, ValueError):
        return None
