import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from config.mounts import is_network, mount_of, parse_mountinfo, read_mounts
from needs import ROOT
from unprivileged import reachable_directory, run_as_nobody
from watcher.mounts import (
    Backend,
    Layout,
    Offline,
    Online,
    RootIdentity,
    check_root,
    choose_backend,
)

MOUNTINFO = r"""
1 1 0:2 / / rw - rootfs rootfs rw
20 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
21 20 0:5 / /proc rw - proc proc rw
30 20 8:2 / /srv rw shared:2 master:1 - xfs /dev/sdb1 rw
31 30 0:40 / /srv/in\040box/nas rw - nfs4 nas:/photos rw
32 30 0:41 / /srv/in\040box/nas/deep rw - fuse.sshfs me@host: rw
33 31 0:42 / /srv/in\040box/nas/deep rw - tmpfs tmpfs rw
40 20 0:50 / /mnt/a rw - ext4 /dev/sdc1 rw
41 20 0:51 / /mnt rw - cifs //nas/share rw
50 30 0:60 / /srv/auto rw - autofs systemd-1 rw
51 50 0:61 / /srv/auto rw - nfs nas:/x rw
a line of no known form
"""
MOUNTS = parse_mountinfo(MOUNTINFO)


@pytest.mark.parametrize(
    ("path", "fstype"),
    [
        ("/", "ext4"),
        ("/home/x", "ext4"),
        ("/srv", "xfs"),
        ("/srvx", "ext4"),
        ("/srv/in box", "xfs"),
        ("/srv/in box/nas/2024", "nfs4"),
        ("/srv/in box/nas/deep/a", "tmpfs"),  # the one mounted within nas, not the one that it hides
        ("/mnt/a", "cifs"),  # mounted before /mnt was, hidden by it
        ("/srv/auto/a", "nfs"),  # on top of another at the same point
    ],
)
def test_the_file_system_of_a_path_is_found_as_the_kernel_does(path: str, fstype: str) -> None:
    found = mount_of(path, MOUNTS)
    assert found
    assert found.fstype == fstype


def test_a_chroot_that_is_no_mount_has_no_answer() -> None:
    assert mount_of("/srv/x", parse_mountinfo("21 20 0:5 / /proc rw - proc proc rw\n")) is None
    assert Layout("/srv/x", ()).fstype == ""


@pytest.mark.parametrize("fstype", "nfs nfs4 cifs smb3 9p fuse fuse.sshfs fuse.rclone virtiofs ceph afs".split())
def test_network_file_systems_are_polled(fstype: str) -> None:
    assert is_network(fstype)
    backend = choose_backend("auto", fstype)
    assert backend.name == "poll"
    assert fstype in backend.why


@pytest.mark.parametrize("fstype", ["ext4", "xfs", "btrfs", "tmpfs", "overlay", "zfs", "fuseblk", ""])
def test_local_file_systems_are_watched(fstype: str) -> None:
    assert choose_backend("auto", fstype).name == "inotify"


def test_the_settings_win_over_the_file_system() -> None:
    assert choose_backend("poll", "ext4") == Backend("poll", 'set by watch = "poll"')
    assert choose_backend("inotify", "nfs") == Backend("inotify", 'set by watch = "inotify"')


def test_a_layout_tells_which_parts_of_a_tree_are_on_the_network() -> None:
    layout = Layout("/srv/in box", MOUNTS)
    assert layout.fstype == "xfs"
    assert layout.mounts_inside == {"nas": "nfs4", "nas/deep": "tmpfs"}
    assert layout.network_parts == ("nas",)
    assert not layout.is_network("a.jpg")
    assert not layout.is_network("nasty/a.jpg")
    assert layout.is_network("nas/a.jpg")
    whole = Layout("/mnt/a", MOUNTS)
    assert whole.network_parts == ("",)
    assert whole.is_network("x/y.jpg")


def test_this_machines_own_mountinfo_is_understood(tmp_path: Path) -> None:
    found = mount_of(str(tmp_path), read_mounts())
    assert found
    assert found.fstype


def identity(root: Path, expected: RootIdentity | None = None) -> RootIdentity:
    state = check_root(str(root), expected, require_mount=False)
    assert isinstance(state, Online)
    return state.identity


def why_offline(root: Path, expected: RootIdentity | None = None, *, require_mount: bool = False) -> str:
    state = check_root(str(root), expected, require_mount=require_mount)
    assert isinstance(state, Offline)
    return state.why


def test_a_root_keeps_its_identity_while_files_come_and_go(tmp_path: Path) -> None:
    before = identity(tmp_path)
    (tmp_path / "a.jpg").touch()
    assert identity(tmp_path, before) == before


def test_a_missing_root_a_file_and_a_link_are_offline(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path)
    assert "is missing" in why_offline(tmp_path / "inbox")
    assert "is no directory" in why_offline(tmp_path / "file")
    assert "symbolic link" in why_offline(tmp_path / "link")


def test_a_replaced_root_is_online_with_another_identity(tmp_path: Path) -> None:
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    before = identity(inbox)
    inbox.rename(tmp_path / "old")
    inbox.mkdir()
    assert identity(inbox, before) != before


def test_a_required_mount_that_is_not_mounted_is_offline(tmp_path: Path) -> None:
    assert "require_mount" in why_offline(tmp_path, require_mount=True)


@pytest.mark.parametrize("mode", [0o000, 0o100, 0o444])
def test_a_root_that_may_not_be_read_or_entered_is_offline(mode: int) -> None:
    with reachable_directory() as inbox:
        inbox.chmod(mode)
        told = run_as_nobody(
            """
            import sys
            from watcher.mounts import check_root
            become_nobody()
            print(check_root(sys.argv[1], None, require_mount=False))
            """,
            inbox,
        )
        inbox.chmod(0o700)
    assert told.startswith("Offline")
    assert "Permission denied" in told


IN_A_MOUNT_NAMESPACE = """
import os, subprocess, sys
from pathlib import Path
from config.mounts import read_mounts
from watcher.mounts import check_root, Online, Offline, Layout
root = Path(sys.argv[1])
def mount(point): subprocess.run(["mount", "-t", "tmpfs", "tmpfs", point], check=True)
def umount(point): subprocess.run(["umount", point], check=True)
"""


def run_with_mounts(root: Path, program: str) -> None:
    """Run a program in a mount namespace of its own, so that nothing is left mounted whatever happens."""
    code = IN_A_MOUNT_NAMESPACE + textwrap.dedent(program)
    command = ["unshare", "--mount", sys.executable, "-c", code, str(root)]
    subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)})


@pytest.mark.root
def test_an_unmounted_root_is_offline_and_online_again_when_mounted_anew(tmp_path: Path) -> None:
    run_with_mounts(
        tmp_path,
        """
        mount(root)
        first = check_root(str(root), None, require_mount=True)
        assert isinstance(first, Online) and first.identity.fstype == "tmpfs", first
        umount(root)
        lost = check_root(str(root), first.identity, require_mount=False)
        assert isinstance(lost, Offline) and "no longer mounted" in lost.why, lost
        mount(root)
        back = check_root(str(root), first.identity, require_mount=True)
        assert isinstance(back, Online), back
        """,
    )


@pytest.mark.root
def test_a_root_below_a_mount_that_went_away_is_offline(tmp_path: Path) -> None:
    run_with_mounts(
        tmp_path,
        """
        inbox = root / "inbox"
        inbox.mkdir()
        before = check_root(str(inbox), None, require_mount=False)
        mount(root)
        inbox.mkdir()
        mounted = check_root(str(inbox), before.identity, require_mount=False)
        assert isinstance(mounted, Online) and mounted != before, mounted
        assert Layout(str(root.parent), read_mounts()).mounts_inside == {root.name: "tmpfs"}
        umount(root)
        lost = check_root(str(inbox), mounted.identity, require_mount=False)
        assert isinstance(lost, Offline), lost
        """,
    )
