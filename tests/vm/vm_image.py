"""The disk of the test machine: a Debian 12 tree with Thumbdrop installed in it, a kernel, and an initramfs that finds the disk.

Needs root, Debian 12 and these packages; `missing_tools` says which are not there:

    apt install --no-install-recommends mmdebstrap qemu-system-x86 qemu-utils seabios busybox-static kmod cpio e2fsprogs openssh-client

What is slow and never changes is kept: the tree and the wheels by booted.py, the kernel in /var/tmp/thumbdrop-vm, or where
THUMBDROP_VM says. Thumbdrop itself is built and installed anew each time. What a reader would get wrong: it is
installed by a chroot, at the speed of this machine, because everything inside the emulated one is about seven times slower.
"""

import fcntl
import gzip
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from booted import base_tree
from needs import ROOT
from wheelhouse import dependency_wheels

STORE = Path(os.environ.get("THUMBDROP_VM", "/var/tmp/thumbdrop-vm"))
_TOOLS = "mmdebstrap qemu-system-x86_64 qemu-img busybox depmod modprobe cpio mke2fs ssh ssh-keygen chroot dpkg-deb"
_PACKAGES = ("udev", "kmod", "nfs-kernel-server", "nfs-common", "eatmydata")
_KERNEL = "linux-image-cloud-amd64"
_DISK_SIZE = "4G"  # sparse

_INIT = """\
#!/bin/busybox sh
/bin/busybox mount -t proc p /proc
/bin/busybox mount -t devtmpfs d /dev
for module in /modules/*.ko; do /bin/busybox insmod $module; done
until [ -b /dev/vda ]; do /bin/busybox sleep 0.1; done
/bin/busybox mount -t ext4 /dev/vda /newroot
/bin/busybox umount /proc
exec /bin/busybox switch_root /newroot /sbin/init
"""
_NETWORK = """\
[Unit]
DefaultDependencies=no
Before=network-pre.target network.target ssh.service
Wants=network-pre.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -c 'modprobe virtio_net; until [ -e /sys/class/net/eth0 ] || [ -e /sys/class/net/ens3 ] || ls /sys/class/net | grep -qv lo; do sleep .1; done; \
device=$(ls /sys/class/net | grep -v lo | head -1); ip link set lo up; ip link set $device up; ip address add 10.0.2.15/24 dev $device'
[Install]
WantedBy=sysinit.target
"""
_FSTAB = """\
/dev/vda /    ext4 rw,relatime 0 0
/dev/vdb /srv ext4 rw,relatime 0 0
"""
_UNIT = """\
[Service]
User=thumbdrop
ExecStart=/opt/thumbdrop/bin/thumbdrop up --config /etc/thumbdrop/thumbdrop.toml --workers 2
Restart=always
RestartSec=2
KillMode=mixed
TimeoutStopSec=120
"""
_CLEAN = ("PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C.UTF-8")
# The machine is thrown away, and slow: what it does not need to start does not start.
_MASKED = (
    "systemd-timesyncd.service logrotate.timer e2scrub_reap.service redis-server.service serial-getty@ttyS0.service "
    "systemd-binfmt.service systemd-logind.service modprobe@configfs.service modprobe@dm_mod.service modprobe@drm.service "
    "modprobe@efi_pstore.service modprobe@fuse.service modprobe@loop.service nfs-blkmap.service rpc-statd-notify.service"
)
_NOT_BY_ITSELF = "nfs-server.service nfs-client.target rpcbind.service rpcbind.socket"


@dataclass(frozen=True)
class Image:
    """What a machine boots from; `disk` is never written to, `key` lets root in by ssh."""

    disk: Path
    kernel: Path
    initramfs: Path
    key: Path


def missing_tools() -> list[str]:
    """What is not installed here."""
    path = os.environ.get("PATH", os.defpath) + ":/usr/local/sbin:/usr/sbin:/sbin"
    missing = [name for name in _TOOLS.split() if not shutil.which(name, path=path)]
    return [*missing, *([] if os.geteuid() == 0 else ["root"])]


def build(disk: Path) -> Image:
    """Make everything that is not there yet, and the disk anew, under the name given; one at a time."""
    STORE.mkdir(parents=True, exist_ok=True)
    with (STORE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        kernel, modules = _kernel()
        key = STORE / "key"
        if not key.exists():
            _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key)
        _make_disk(disk, modules, key)
        return Image(disk, kernel, _initramfs(modules), key)


def _run(*words: str | Path, cwd: Path | None = None) -> str:
    """Run a program to its end; its output. CalledProcessError, after showing what it said."""
    done = subprocess.run([str(word) for word in words], cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.stderr.write(done.stdout + done.stderr)
        done.check_returncode()
    return done.stdout


def _stamp(*parts: str | bytes) -> str:
    return hashlib.sha256(b"\0".join(p if isinstance(p, bytes) else p.encode() for p in parts)).hexdigest()[:12]


@contextmanager
def _made_whole(target: Path) -> Iterator[Path]:
    """A folder to make something in, which gets its name only when all went well."""
    begun = target.with_name(f"{target.name}.begun")
    shutil.rmtree(begun, ignore_errors=True)
    begun.mkdir(parents=True)
    yield begun
    begun.rename(target)


def _kernel() -> tuple[Path, Path]:
    """Debian's kernel for virtual machines: the kernel, and the folder of its modules."""
    folder = STORE / "kernel"
    if not folder.exists():
        depends = _run("apt-cache", "depends", _KERNEL).split("Depends: ")[1:]
        package = next(word for line in depends if (word := line.split()[0]).startswith("linux-image-"))
        with _made_whole(folder) as begun:
            _run("apt-get", "-qq", "download", "-o", "APT::Sandbox::User=root", package, cwd=begun)
            _run("dpkg-deb", "-x", next(begun.glob("*.deb")), begun)
            (version,) = (begun / "lib" / "modules").iterdir()
            _run("depmod", "-b", begun, version.name)
    (modules,) = (folder / "lib" / "modules").iterdir()
    return folder / "boot" / f"vmlinuz-{modules.name}", modules


def _initramfs(modules: Path) -> Path:
    """Busybox with the two drivers that the root disk needs; ext4 is in the kernel."""
    target = STORE / f"initramfs-{_stamp(_INIT, modules.name)}"
    if not target.exists():
        with _made_whole(STORE / "initramfs") as folder:
            for name in ("bin", "modules", "proc", "dev", "newroot"):
                (folder / name).mkdir()
            shutil.copy(shutil.which("busybox") or "", folder / "bin" / "busybox")
            (folder / "init").write_text(_INIT)
            (folder / "init").chmod(0o755)
            words = ["modprobe", "-a", "-d", str(modules.parents[2]), "-S", modules.name, "--show-depends"]
            needed = [line.split()[1] for line in _run(*words, "virtio_pci", "virtio_blk").splitlines()]
            for number, module in enumerate(dict.fromkeys(needed)):
                shutil.copy(module, folder / "modules" / f"{number:02}.ko")
            names = "\n".join(str(path.relative_to(folder)) for path in sorted(folder.rglob("*")))
            packed = subprocess.run(
                ["cpio", "--quiet", "-o", "-H", "newc"], cwd=folder, input=names.encode(), stdout=-1, check=True
            )
            target.write_bytes(gzip.compress(packed.stdout, 1))
        shutil.rmtree(STORE / "initramfs")
    return target


def _make_disk(disk: Path, modules: Path, key: Path) -> None:
    """Make the root file system, of the tree, the modules, our settings and Thumbdrop; some 30 s."""
    work = STORE / "work"
    shutil.rmtree(work, ignore_errors=True)
    root = work / "root"
    root.mkdir(parents=True)
    _run("tar", "-x", "--numeric-owner", "-p", "-f", base_tree(_PACKAGES), "-C", root)
    root.chmod(0o755)
    _settle_in(root, modules, key)
    _install(root)
    _run("truncate", "-s", _DISK_SIZE, disk)
    _run("mke2fs", "-q", "-t", "ext4", "-d", root, disk)
    shutil.rmtree(work)


def _settle_in(root: Path, modules: Path, key: Path) -> None:
    shutil.copytree(modules, root / "lib" / "modules" / modules.name, symlinks=True)
    ssh = root / "root" / ".ssh"
    ssh.mkdir(mode=0o700, exist_ok=True)
    shutil.copy(key.with_suffix(".pub"), ssh / "authorized_keys")
    (root / "etc" / "hostname").write_text("vm\n")
    (root / "etc" / "hosts").write_text("127.0.0.1 localhost vm\n")
    (root / "etc" / "fstab").write_text(_FSTAB)
    units = root / "etc" / "systemd" / "system"
    (units / "vm-network.service").write_text(_NETWORK)
    (units / "thumbdrop.service").write_text(_UNIT)
    _in(root, "systemctl", "-q", "enable", "vm-network.service")
    _in(root, "systemctl", "-q", "mask", *_MASKED.split())
    _in(root, "systemctl", "-q", "disable", *_NOT_BY_ITSELF.split())


def _install(root: Path) -> None:
    _in(root, "useradd", "--system", "--home-dir", "/nonexistent", "thumbdrop")
    lent = root / "mnt" / "wheels"
    shutil.copytree(dependency_wheels(), lent)
    _run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", lent, cwd=ROOT)
    (ours,) = lent.glob("thumbdrop-*.whl")
    _in(root, "python3", "-m", "venv", "/opt/thumbdrop")
    pip = ["/opt/thumbdrop/bin/pip", "install", "-q", "--no-index", "--find-links", "/mnt/wheels"]
    _in(root, *pip, f"/mnt/wheels/{ours.name}")
    shutil.rmtree(lent)
    (root / "etc" / "thumbdrop").mkdir()


def _in(root: Path, *words: str) -> None:
    """Run a program of the tree, with nothing of this machine's environment."""
    _run("env", "-i", *_CLEAN, "chroot", root, *words)
