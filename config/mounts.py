"""What is mounted where, and on which of it a look may hang: the kernel's own list of mounts, which answers at once.

Touches nothing but /proc/self/mountinfo. What a reader would get wrong: even lstat(2) of a mount's root may hang for ever
when its server does, in a process that then cannot be killed, so whoever must not hang asks here first.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

MOUNTINFO = "/proc/self/mountinfo"

# Changes made elsewhere cause no inotify events here, and attributes may come from a cache. "fuseblk" (ntfs-3g) is a local disk.
_NETWORK_TYPES = frozenset(
    "nfs nfs4 cifs smb3 smbfs 9p fuse virtiofs ceph afs coda lustre beegfs gfs2 ocfs2 gpfs orangefs vboxsf prl_fs".split()
)


@dataclass(frozen=True, slots=True)
class Mount:
    """One line of mountinfo; see proc_pid_mountinfo(5)."""

    id: int
    parent_id: int
    point: str
    fstype: str


def read_mounts(file: str = MOUNTINFO) -> tuple[Mount, ...]:
    """Read this process's mounts."""
    with open(file, encoding="utf-8", errors="surrogateescape") as lines:
        return parse_mountinfo(lines.read())


@lru_cache(maxsize=2)  # it is asked for each file, and hardly ever changes
def parse_mountinfo(text: str) -> tuple[Mount, ...]:
    """Parse mountinfo; lines that are not of its form are left out."""
    # Not splitlines(): that would also cut at characters which the kernel does not escape.
    matches = (re.match(r"(\d+) (\d+) \S+ \S+ (\S+) .*? - (\S+) ", line) for line in text.split("\n"))
    return tuple(Mount(int(m[1]), int(m[2]), _unescape(m[3]), _unescape(m[4])) for m in matches if m)


def _unescape(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)


def is_network(fstype: str) -> bool:
    """Tell whether changes made elsewhere, or cached attributes, are to be expected."""
    return fstype in _NETWORK_TYPES or fstype.startswith("fuse.")


def mount_of(path: str, mounts: Iterable[Mount]) -> Mount | None:
    """Find the mount that an absolute path without links lies on, as the kernel does: from the top mount downwards.

    None where mountinfo does not tell, in a chroot that is no mount point. A mount below another one's point is hidden by it.
    """
    known = tuple(mounts)
    ids = {mount.id for mount in known}
    tops = [mount for mount in known if mount.parent_id not in ids or mount.parent_id == mount.id]
    above = [mount for mount in tops if is_below(path, mount.point)]
    found: Mount | None = None
    while above:
        found = min(above, key=lambda mount: len(mount.point))
        above = [m for m in known if m.parent_id == found.id and m is not found and is_below(path, m.point)]
    return found


def is_below(path: str, directory: str) -> bool:
    """Tell whether `path` is `directory` or lies below it; both absolute or both relative, "" being the root of the latter."""
    return directory in (path, "") or path.startswith(directory.rstrip("/") + "/")


def network_mount_of(path: str, mounts: Iterable[Mount] | None = None) -> Mount | None:
    """Find the network file system that an absolute path without links lies on; None when it is local."""
    found = mount_of(path, read_mounts() if mounts is None else mounts)
    return found if found and is_network(found.fstype) else None
