"""A virtual machine under qemu without KVM: boots an image, runs commands by ssh, and can lose its power.

What a reader would get wrong: `cut_power` kills qemu. The disks are written through qemu into this machine's page
cache (cache=writeback), which outlives qemu; so what is lost is what the guest had not written out, its own page cache,
which is what fsync(2) is about. A disk that lies about its flushes is another matter, and is not tested.
"""

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from servers import die_with_pytest
from vm_image import Image
from waiting import wait_until

Answer = TypeVar("Answer")
_BOOT_SECONDS = 900.0  # 20 s on idle cores, minutes on busy ones
_SSH_OPTIONS = (
    "-q -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o ConnectTimeout=60 "
    "-o ServerAliveInterval=60"
)


class Machine:
    """One machine with the root disk of an image, whose changes are kept beside `data`, and a second disk `data`."""

    def __init__(self, image: Image, folder: Path, data: Path) -> None:
        self.data = data
        self._image = image
        self._folder = folder
        self._changes = folder / "root.qcow2"
        self._boots = 0
        self._port = 0
        self._qemu: subprocess.Popen[bytes] | None = None
        self._line: subprocess.Popen[bytes] | None = None
        words = ["qemu-img", "create", "-q", "-f", "qcow2", "-b", str(image.disk), "-F", "raw", str(self._changes)]
        subprocess.run(words, check=True)

    # -- power

    def boot(self) -> float:
        """Switch it on and wait until it takes commands; how many seconds that took."""
        assert self._qemu is None, "it is on already"
        began = time.monotonic()
        self._boots += 1
        self._port = _free_port()
        self._qemu = subprocess.Popen(self._command(), stdin=subprocess.DEVNULL, preexec_fn=die_with_pytest)
        wait_until(self._is_up, f"the machine boots; see {self._console}", _BOOT_SECONDS, every=0.5)
        return time.monotonic() - began

    def cut_power(self) -> None:
        """Kill it in the middle of whatever it does."""
        self._end(signal.SIGKILL)

    def shut_down(self) -> None:
        """Switch it off in order, with everything written out."""
        qemu = self._on()
        with suppress(subprocess.CalledProcessError, subprocess.TimeoutExpired):
            self.run("systemctl poweroff", seconds=60)
        qemu.wait(_BOOT_SECONDS)
        self._end(signal.SIGKILL)

    def _on(self) -> "subprocess.Popen[bytes]":
        assert self._qemu is not None, "the machine is off"
        return self._qemu

    def _end(self, number: int) -> None:
        if self._qemu is not None:
            self._qemu.send_signal(number)
            self._qemu.wait()
            self._qemu = None
        self._hang_up()

    def _is_up(self) -> bool:
        code = self._on().poll()
        assert code is None, f"qemu ended with {code}; see {self._console}"
        if self._line is None or self._line.poll() is not None:
            # One connection for all commands: to make one costs the emulated machine seconds.
            words = self._ssh("", "-M", "-N")[:-1]
            self._line = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, preexec_fn=die_with_pytest
            )
        if not self._control.exists():
            return False
        with suppress(subprocess.CalledProcessError):
            self.run("systemctl is-active -q multi-user.target", seconds=_BOOT_SECONDS)
            return True
        return False

    def _hang_up(self) -> None:
        if self._line is not None:
            self._line.kill()
            self._line.wait()
            self._line = None
        self._control.unlink(missing_ok=True)

    @property
    def _control(self) -> Path:
        return self._folder / f"ssh-{self._boots}"

    @property
    def _console(self) -> Path:
        return self._folder / f"console-{self._boots}"

    def _command(self) -> list[str]:
        disk = "if=virtio,cache=writeback"
        return [
            *(
                "nice",
                "-n",
                "5",
                "qemu-system-x86_64",
                "-name",
                "thumbdrop-vm",
                "-accel",
                "tcg,thread=multi",
                "-cpu",
                "max",
            ),
            *("-smp", "2", "-m", "1536", "-M", "q35", "-nodefaults", "-display", "none", "-no-reboot"),
            *("-kernel", f"{self._image.kernel}", "-initrd", f"{self._image.initramfs}"),
            *("-append", "console=ttyS0 quiet panic=-1 mitigations=off"),
            *("-drive", f"file={self._changes},{disk}", "-drive", f"file={self.data},format=raw,{disk}"),
            *("-netdev", f"user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{self._port}-:22"),
            *("-device", "virtio-net-pci,netdev=net", "-device", "virtio-rng-pci"),
            *("-serial", f"file:{self._console}"),
        ]

    # -- commands

    def run(self, script: str, stdin: bytes = b"", seconds: float = 120.0) -> str:
        """Run a shell script in it as root; its output. CalledProcessError when it fails, or the machine is gone."""
        done = subprocess.run(
            self._ssh(script),
            input=stdin,
            capture_output=True,
            check=False,
            timeout=seconds,
            preexec_fn=die_with_pytest,
        )
        if done.returncode:
            error = subprocess.CalledProcessError(done.returncode, script, done.stdout, done.stderr)
            error.add_note((done.stdout + done.stderr).decode(errors="backslashreplace"))
            raise error
        return done.stdout.decode(errors="backslashreplace")

    def start(self, script: str, output: Path) -> "subprocess.Popen[bytes]":
        """Start a script whose output arrives in a file; it ends with the machine, or when it is killed."""
        with output.open("ab") as file:
            return subprocess.Popen(
                self._ssh(script), stdin=subprocess.DEVNULL, stdout=file, stderr=file, preexec_fn=die_with_pytest
            )

    def write(self, path: str, content: str | bytes) -> None:
        """Write a file in it."""
        self.run(f"cat >{path}", content.encode() if isinstance(content, str) else content)

    @staticmethod
    def ask(question: Callable[[], Answer | None], what: str, seconds: float) -> Answer:
        """Wait until the question has a true answer; a command in it that fails is one more try."""

        def answer() -> Answer | None:
            with suppress(subprocess.CalledProcessError, subprocess.TimeoutExpired):
                return question()
            return None

        found = wait_until(answer, what, seconds, every=1.0)
        assert found is not None
        return found

    def _ssh(self, script: str, *options: str) -> list[str]:
        where = ["-S", str(self._control), "-i", str(self._image.key), "-p", str(self._port), "root@127.0.0.1"]
        return ["ssh", *_SSH_OPTIONS.split(), *options, *where, script]


@contextmanager
def machine(image: Image, folder: Path, data: Path) -> Iterator[Machine]:
    """A machine that is off at the end, whatever happens."""
    made = Machine(image, folder, data)
    try:
        yield made
    finally:
        made.cut_power()


def make_data_disk(disk: Path, size: str, owner_id: int = 0) -> None:
    """Make an empty ext4 of that size, whose root belongs to that user."""
    subprocess.run(["truncate", "-s", size, disk], check=True)
    # Nothing left for later: a lazy initialisation would write in the background all the time.
    options = f"lazy_itable_init=0,lazy_journal_init=0,root_owner={owner_id}:{owner_id}"
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-E", options, disk], check=True)


@contextmanager
def mounted_copy(disk: Path, folder: Path) -> Iterator[Path]:
    """What is on a disk, as the next boot would find it: a copy, mounted here, so that looking changes nothing."""
    copy, point = folder / "copy.img", folder / "copy"
    subprocess.run(["cp", "--sparse=always", disk, copy], check=True)
    point.mkdir(exist_ok=True)
    subprocess.run(["mount", "-o", "loop", copy, point], check=True)
    try:
        yield point
    finally:
        subprocess.run(["umount", point], check=True)
        copy.unlink()


def say(line: str) -> None:
    """Tell how it goes."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
