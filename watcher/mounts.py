"""What an inbox lies on: file system types, mounts inside it, which backend fits, and whether it is still what it was.

Only `check_root` touches the inbox itself; all else is read from the list of mounts (config/mounts.py). What a reader would
get wrong: a mount that went away leaves an empty local directory behind, so "empty" and "unmounted" look alike.
"""

import os
import stat
from dataclasses import dataclass
from typing import Literal, NamedTuple

from config.mounts import Mount, is_below, is_network, mount_of, read_mounts


class Backend(NamedTuple):
    """How changes are noticed, and why so, in words for `status`."""

    name: Literal["inotify", "poll"]
    why: str


@dataclass(frozen=True, slots=True)
class RootIdentity:
    """What tells one root from another under the same path.

    `inode` is 0 on network file systems, where it may change by itself.
    """

    mount_id: int
    mount_point: str
    fstype: str
    device: int
    inode: int


@dataclass(frozen=True, slots=True)
class Online:
    """The root can be read. An identity unlike the last one means: replaced or mounted anew, so arm and scan again."""

    identity: RootIdentity


@dataclass(frozen=True, slots=True)
class Offline:
    """The root cannot be used now; nothing in it counts as gone."""

    why: str


class Layout:
    """The file systems of one tree, as they were mounted when this was made. Touches nothing of the tree.

    `fstype` is the root's, "" if unknown; `network_parts` are the directories (relative, "" for the root itself) on which
    network file systems are mounted: they get no watches, and any of them means that the tree is to be looked at remotely.
    """

    def __init__(self, root: str, mounts: tuple[Mount, ...]) -> None:
        home = mount_of(root, mounts)
        self.fstype = home.fstype if home else ""
        inside = {mount.point for mount in mounts if mount.point != root and is_below(mount.point, root)}
        self.mounts_inside = {os.path.relpath(point, root): _fstype_at(point, mounts) for point in sorted(inside)}
        parts = [path for path, fstype in self.mounts_inside.items() if is_network(fstype)]
        self.network_parts = ("",) if is_network(self.fstype) else tuple(parts)

    def is_network(self, path: str) -> bool:
        """Tell whether a file of the tree lies on a network file system."""
        return any(is_below(path, part) for part in self.network_parts)


def _fstype_at(path: str, mounts: tuple[Mount, ...]) -> str:
    found = mount_of(path, mounts)
    return found.fstype if found else ""


def choose_backend(watch: Literal["auto", "inotify", "poll"], fstype: str) -> Backend:
    """Choose how to notice changes; `fstype` is that of the root, "" if unknown.

    Network mounts inside a local tree get no watches either way; the periodic scan finds what happens there.
    """
    if watch != "auto":
        return Backend(watch, f'set by watch = "{watch}"')
    if is_network(fstype):
        return Backend("poll", f"{fstype} is a network file system: changes made elsewhere cause no events")
    return Backend("inotify", f"{fstype or 'the file system'} is local")


def check_root(root: str, expected: RootIdentity | None, *, require_mount: bool) -> Online | Offline:
    """Look whether an inbox's root is there, readable, and still on the mount that it was on.

    `expected` is the identity of the last time it was online, None at start. Mounted over, mounted anew or replaced is online
    with another identity; back on the file system that the mount point itself lies on is offline. Blocks while a mount hangs.

    Limits: the kernel uses mount ids again, so unmounted and mounted anew between two checks may look like never gone.
    """
    try:
        descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        return Offline(_why_not_open(root, error))
    try:
        return _check_open_root(root, descriptor, expected, require_mount=require_mount)
    except OSError as error:
        return Offline(f"{root} cannot be read: {error.strerror}")
    finally:
        os.close(descriptor)


def _why_not_open(root: str, error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return f"{root} is missing"
    if isinstance(error, NotADirectoryError):
        is_link = stat.S_ISLNK(os.lstat(root).st_mode) if os.path.lexists(root) else False
        return f"{root} is now a symbolic link; restart to follow it" if is_link else f"{root} is no directory"
    return f"{root} cannot be opened: {error.strerror}"


def _check_open_root(
    root: str, descriptor: int, expected: RootIdentity | None, *, require_mount: bool
) -> Online | Offline:
    os.stat(".", dir_fd=descriptor)  # needs the x right, as every look does
    with os.scandir(descriptor) as entries:
        next(entries, None)  # a dead network mount may open and then fail here
    facts = os.fstat(descriptor)
    # Read after the opening, which may have caused an automount.
    mount = mount_of(root, read_mounts()) or Mount(0, 0, "/", "")
    if require_mount and mount.point != root:
        return Offline(f"nothing is mounted on {root} (require_mount is set)")
    if expected and mount.point != expected.mount_point and is_below(expected.mount_point, mount.point):
        return Offline(f"{expected.fstype} is no longer mounted on {expected.mount_point}")
    inode = 0 if is_network(mount.fstype) else facts.st_ino
    return Online(RootIdentity(mount.id, mount.point, mount.fstype, facts.st_dev, inode))
