"""A Debian 12 with a real systemd as PID 1, in a container: built once, booted in seconds, thrown away.

    with booted_machine() as machine:
        machine.succeed("systemctl", "is-system-running")       # its output; an AssertionError with all of it if it fails
        machine.shell("systemctl stop redis-server && rm -f /var/lib/redis/*")
        (machine.root / "etc/motd").write_text("hello")         # its files, as the host sees them
        machine.reboot()

It has a network of its own with nothing but a loopback, so what is installed in it comes from files. What a reader would
get wrong: cgroups and network rules look right without three tricks, and are silently ignored (see `_Container`).
"""

import ctypes
import hashlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from needs import missing, need
from waiting import wait_until

# Trees are kept here between runs. Not /tmp: it may be a small tmpfs, and mounted nodev.
CACHE = Path(os.environ.get("THUMBDROP_TREES", "/var/tmp/thumbdrop-trees"))
PACKAGES = (
    "systemd systemd-sysv dbus python3 python3-venv redis-server openssh-server openssh-client procps acl iproute2"
).split()
_MIRROR = "http://deb.debian.org/debian"
_CUSTOMIZE = (
    # Nobody logs in at a console, and nothing is fetched by a timer.
    'chroot "$1" systemctl mask console-getty.service getty@.service systemd-networkd.service systemd-resolved.service',
    'chroot "$1" systemctl mask apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer',
    'echo uninitialized > "$1"/etc/machine-id; rm -f "$1"/etc/hostname',
    # All that a test says may be asked for afterwards, over reboots too.
    'printf "Storage=persistent\\nRateLimitIntervalSec=0\\n" >> "$1"/etc/systemd/journald.conf',
)
_PATH = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
_ENVIRON = _PATH | {"LANG": "C.UTF-8", "HOME": "/root", "TERM": "dumb", "SYSTEMD_PAGER": "", "SYSTEMD_COLORS": "0"}
_PR_SET_PDEATHSIG = 1
_CONTROLLERS = "memory pids cpu cpuacct blkio".split()


# -- the tree


def base_tree(extra: Sequence[str] = ()) -> Path:
    """A tar file of a minimal Debian 12 with `PACKAGES` and `extra`; built on the first call (35 s), then kept."""
    packages = [*PACKAGES, *extra]
    recipe = "\n".join([*packages, *_CUSTOMIZE])
    tree = CACHE / f"bookworm-{hashlib.sha256(recipe.encode()).hexdigest()[:12]}.tar"
    if not tree.exists():
        CACHE.mkdir(mode=0o700, parents=True, exist_ok=True)
        half = tree.with_name(f"{tree.name}.{os.getpid()}")
        try:
            _build_tree(packages, half)
            half.rename(tree)
        finally:
            half.unlink(missing_ok=True)
    return tree


def _build_tree(packages: Sequence[str], tree: Path) -> None:
    left_out = ("man", "doc", "locale", "info")
    command = [
        need("mmdebstrap"),
        "--quiet",
        "--variant=minbase",
        "--format=tar",
        f"--include={','.join(packages)}",
        *(f"--dpkgopt=path-exclude=/usr/share/{folder}/*" for folder in left_out),
        *(f"--customize-hook={hook}" for hook in _CUSTOMIZE),
        "bookworm",
        str(tree),
        _sources(),
    ]
    for try_ in (1, 2):  # a mirror may stumble
        done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
        if done.returncode == 0:
            return
        tree.unlink(missing_ok=True)
        assert try_ == 1, f"mmdebstrap:\n{done.stdout}{done.stderr}"


def _sources() -> str:
    """Where this machine gets its own packages from, if it is a Debian 12 as well; else the mirror that everybody has."""
    for name in ("/etc/apt/sources.list.d/debian.sources", "/etc/apt/sources.list"):
        file = Path(name)
        if file.is_file() and "bookworm" in file.read_text():
            return name
    return _MIRROR


# -- the machine


class Machine:
    """One Debian: its files below `root`, and, while it is booted, what runs in it."""

    def __init__(self, folder: Path, tree: Path) -> None:
        """Unpack it into an empty folder."""
        self.root = folder / "root"
        self.root.mkdir(mode=0o755)
        self._console = folder / "console.log"
        self._container: _Container | None = None
        subprocess.run(["tar", "-x", "--numeric-owner", "-p", "-f", tree, "-C", self.root], check=True)
        self.root.chmod(0o755)

    def boot(self) -> None:
        """Boot it, and wait until systemd calls the system "running" or "degraded"."""
        self._container = _Container(self.root, self._console)
        self.succeed("systemctl", "is-system-running", "--wait", codes=(0, 1))

    def power_off(self) -> None:
        """Shut it down in order; nothing when it is off already."""
        self._end("poweroff")

    def reboot(self) -> None:
        """Let it reboot, with everything in it stopped and started in order."""
        self._end("reboot")
        self.boot()

    def kill(self) -> None:
        """End everything in it at once, as when the plug is pulled; but what was written stays in the page cache."""
        if self._container:
            self._container.kill()
        self._container = None

    def run(
        self, *command: str, stdin: bytes = b"", seconds: float = 60, environ: Mapping[str, str] = _ENVIRON
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a command in it, as root, and return what it said; its cgroup is that of the tests, not systemd's."""
        assert self._container, "the machine is off"
        inside = ["nsenter", "-t", str(self._container.leader), "-m", "-u", "-i", "-n", "-p", "-C", "-r", "-w"]
        return subprocess.run(
            [*inside, *command], input=stdin, capture_output=True, check=False, timeout=seconds, env=dict(environ)
        )

    def succeed(self, *command: str, stdin: bytes = b"", seconds: float = 60, codes: Sequence[int] = (0,)) -> str:
        """Run a command in it that ends with one of `codes`, and return its standard output."""
        done = self.run(*command, stdin=stdin, seconds=seconds)
        told = f"{done.stdout.decode(errors='replace')}{done.stderr.decode(errors='replace')}"
        assert done.returncode in codes, f"{' '.join(command)} ended with {done.returncode}:\n{told}"
        return done.stdout.decode(errors="surrogateescape")

    def shell(self, script: str, seconds: float = 60) -> str:
        """Run a script of several lines in it, which ends at the first command that fails."""
        return self.succeed("bash", "-euo", "pipefail", stdin=script.encode(), seconds=seconds)

    def _end(self, how: str) -> None:
        if self._container:
            self.run("systemctl", how, "--no-wall")
            container, self._container = self._container, None
            container.wait()


@contextmanager
def booted_machine(extra_packages: Sequence[str] = ()) -> Iterator[Machine]:
    """A new machine that is up; its console and everything else of it are gone afterwards."""
    if os.geteuid() != 0:
        missing("booting a system needs to be root")
    need("systemd-nspawn")
    tree = base_tree(extra_packages)
    folder = Path(tempfile.mkdtemp(prefix="thumbdrop-machine-", dir=CACHE))
    folder.chmod(0o755)
    try:
        machine = Machine(folder, tree)
        try:
            machine.boot()
            yield machine
        finally:
            machine.kill()
    finally:
        shutil.rmtree(folder)


class _Container:
    """A running systemd-nspawn, in cgroups of its own.

    The three tricks: `--keep-unit`, because PID 1 of a container that runs the tests is no systemd that could make a
    scope; `--system-call-filter=bpf`, or IPAddressDeny= does nothing; and its part of the controllers, which come
    read-only, is made writable before systemd looks at them again, or MemoryMax= does nothing.
    """

    def __init__(self, root: Path, console: Path) -> None:
        self._groups = [group / f"thumbdrop-{os.getpid()}-{root.parent.name}" for group in _hierarchies()]
        self.leader = 0
        with console.open("ab") as log:
            self._nspawn = subprocess.Popen(
                self._command(root),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=_PATH,
                preexec_fn=self._move_in,
            )
        try:
            self.leader = wait_until(lambda: self._first_process(console), f"systemd is up; see {console}", 30)
            self._open_cgroups()
        except BaseException:
            self.kill()
            raise

    def wait(self) -> None:
        """Wait for the end of a shutdown."""
        try:
            self._nspawn.wait(timeout=60)
        finally:
            self.kill()

    def kill(self) -> None:
        """End it: with the death of its first process, which outlives a killed nspawn, the kernel kills all the others."""
        for pid in self._children():
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        self._nspawn.kill()
        self._nspawn.wait()
        for group in self._groups:
            wait_until(lambda at=group: _removed(at), f"{group} is empty", 20)  # type: ignore[misc]

    @staticmethod
    def _command(root: Path) -> list[str]:
        options = "--quiet --register=no --keep-unit --boot --console=pipe --private-network --system-call-filter=bpf"
        more = "--resolv-conf=off --timezone=off --link-journal=no --machine=thumbdrop --hostname=thumbdrop"
        return [need("systemd-nspawn"), *options.split(), *more.split(), f"--directory={root}"]

    def _move_in(self) -> None:
        # Should the tests die, it shuts the system down in order; killed, it would leave it running.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        for group in self._groups:
            group.mkdir(exist_ok=True)
            (group / "cgroup.procs").write_text(str(os.getpid()))

    def _first_process(self, console: Path) -> int:
        assert self._nspawn.poll() is None, f"systemd-nspawn ended:\n{console.read_text(errors='replace')}"
        ready = [pid for pid in self._children() if Path(f"/proc/{pid}/root/run/systemd/private").is_socket()]
        return int(ready[0]) if ready else 0

    def _children(self) -> list[str]:
        with suppress(OSError):
            return Path(f"/proc/{self._nspawn.pid}/task/{self._nspawn.pid}/children").read_text().split()
        return []

    def _open_cgroups(self) -> None:
        inside = ["nsenter", "-t", str(self.leader), "-m", "-u", "-i", "-n", "-p", "-C", "-r", "-w"]
        for controller in _CONTROLLERS:
            place = f"/sys/fs/cgroup/{controller}"
            if Path(f"/proc/{self.leader}/root{place}").is_dir():
                mount = ["mount", "-o", "remount,bind,rw,nosuid,nodev,noexec", place]
                subprocess.run([*inside, *mount], check=True, env=_ENVIRON)
        # Not before it has come up: a systemd that starts anew in the middle of booting has been seen to stay there.
        is_up = [*inside, "systemctl", "is-system-running", "--wait"]
        subprocess.run(is_up, check=False, env=_ENVIRON, capture_output=True)
        subprocess.run([*inside, "systemctl", "daemon-reexec"], check=True, env=_ENVIRON)


def _hierarchies() -> list[Path]:
    """Where a cgroup of our own has to be made: in each hierarchy of version 1, or in the one of version 2."""
    top = Path("/sys/fs/cgroup")
    if (top / "cgroup.procs").exists():
        return [top]
    names = "memory pids cpu cpuacct blkio devices freezer systemd unified".split()
    return [top / name for name in names if (top / name / "cgroup.procs").exists()]


def _removed(group: Path) -> bool:
    """Remove a cgroup with all that systemd made below it; False while somebody still dies in there."""
    for folder, _, _ in os.walk(group, topdown=False):
        with suppress(OSError):
            os.rmdir(folder)
    return not group.exists()
