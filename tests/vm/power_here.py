"""Power cuts without a virtual machine: an ext4 of its own is shut down under a working Thumbdrop, again and again.

    python tests/vm/power_here.py [--cuts 10] [--seed N]      (part of make test-power)

EXT4_IOC_SHUTDOWN without a flush of the log is what xfstests cut the power with: from that moment nothing reaches the
disk, neither pages nor journal, and the next mount finds what a power cut would have left. What a reader would get
wrong: it is quicker than the virtual machine and hits more moments, but the kernel here has mostly written out, by the
time of a cut, what nobody synced a few seconds before; power_run.py sees that, and that a whole system comes up again.
"""

import argparse
import fcntl
import os
import re
import secrets
import struct
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from random import Random

import guest_dropper
from images import encoded, photo
from power_judge import Drop, Findings, Judge
from running import Thumbdrop, thumbdrops, visible_files
from servers import die_with_pytest
from vm_machine import make_data_disk
from waiting import wait_until

SETTINGS = """\
[[inbox]]
path = "disk/inbox"
settle = "300ms"
[library]
path = "disk/library"
min_free = "1MB"
[thumbnails]
sizes = ["640x640", "200x200"]
[limits]
task_time = "10s"
truncated_grace = "5s"
empty_grace = "5s"
[watcher]
rescan = "2s"
"""
_SIZES = ((1600, 1200), (640, 480), (1024, 1365), (300, 300))
_IMAGES_BEFORE_A_CUT = 1, 30
_EXT4_IOC_SHUTDOWN, _NO_LOG_FLUSH = 0x8004587D, 2
_WORK_SECONDS = 240.0


class Cuts:
    """One run. `cut` ends a round; whatever was dropped so far is known by its path."""

    def __init__(self, thumbdrop: Thumbdrop, seed: int) -> None:
        self.wrong: list[str] = []
        self.told = ""
        self._thumbdrop = thumbdrop
        self._point = thumbdrop.folder / "disk"
        self._image = thumbdrop.folder / "disk.img"
        self._rng = Random(seed)
        self._bases = [encoded(photo(*size), quality=88) for size in _SIZES]
        self._next_serial = 0

    def set_up(self) -> None:
        """Make the disk and what the client needs."""
        make_data_disk(self._image, "1G")
        self._point.mkdir()
        bases = self._thumbdrop.folder / "bases"
        bases.mkdir()
        for number, base in enumerate(self._bases):
            (bases / f"{number}").write_bytes(base)
        with self.mounted():
            (self._point / "inbox").mkdir()
            os.sync()
        self._thumbdrop.configure(SETTINGS)

    @contextmanager
    def mounted(self) -> Iterator[None]:
        """The disk, mounted; whoever still uses it at the end is gone soon."""
        subprocess.run(["mount", "-o", "loop", self._image, self._point], check=True)
        try:
            yield
        finally:
            self._thumbdrop.kill_everything()
            wait_until(self._unmounted, f"nobody uses {self._point}", 30)

    def _unmounted(self) -> bool:
        return subprocess.run(["umount", self._point], stderr=subprocess.DEVNULL, check=False).returncode == 0

    def work_until_the_cut(self) -> int:
        """Start everything, drop files, and cut after some images; how many ended before."""
        with self.mounted():
            up = self._thumbdrop.start("up", "--workers", "2", until=())
            with self._client():
                wanted = self._rng.randint(*_IMAGES_BEFORE_A_CUT)
                wait_until(lambda: ends_in(up.text).total() >= wanted, f"{wanted} images are done", _WORK_SECONDS)
                time.sleep(self._rng.uniform(0, 0.3))
                self._cut()
        self._next_serial = max(map(guest_dropper.serial_of, self.counted()), default=0) + 10
        return ends_in(up.text).total()

    def drain(self) -> None:
        """Let everything end."""
        with self.mounted():
            self._thumbdrop.start("up", "--workers", "2", until=())
            inbox = self._point / "inbox"
            wait_until(
                # Not the hidden file of a client that the cut ended before its rename.
                lambda: not visible_files(inbox),
                "the inbox is empty",
                _WORK_SECONDS,
                every=0.2,
            )
            self._thumbdrop.stop()

    def judge(self, *, at_the_end: bool) -> Findings:
        """What a boot would find."""
        with self.mounted():
            judge = Judge(self._point / "library", self._point / "inbox", self._drop_of, self.counted())
            return judge.judge(at_the_end=at_the_end)

    def counted(self) -> set[str]:
        """What the clients have said to be dropped."""
        return set(re.findall(r"^dropped (\S+)$", self.told, re.MULTILINE))

    def ended(self) -> Counter[str]:
        """How often each image was seen to end."""
        return sum((ends_in(running.text) for running in self._thumbdrop.running), Counter())

    def redis_repairs(self) -> int:
        """How often the files of the embedded Redis had to be mended or set aside."""
        return sum(running.text.count("redis.data_") for running in self._thumbdrop.running)

    def _cut(self) -> None:
        fd = os.open(self._point, os.O_RDONLY)
        try:
            fcntl.ioctl(fd, _EXT4_IOC_SHUTDOWN, struct.pack("I", _NO_LOG_FLUSH))
        finally:
            os.close(fd)

    @contextmanager
    def _client(self) -> Iterator[None]:
        output = self._thumbdrop.folder / "dropped"
        words = [
            guest_dropper.__file__,
            self._point / "inbox",
            self._thumbdrop.folder / "bases",
            self._next_serial,
            "root",
        ]
        with output.open("wb") as file:
            client = subprocess.Popen(
                [sys.executable, *map(str, words)], stdout=file, stderr=subprocess.DEVNULL, preexec_fn=die_with_pytest
            )
        try:
            yield
        finally:
            client.kill()
            client.wait()
            self.told += output.read_text()

    def _drop_of(self, path: str) -> Drop:
        serial = guest_dropper.serial_of(path)
        content = guest_dropper.content_of(serial, self._bases)
        return Drop(content, guest_dropper.fate_of(serial), guest_dropper.is_synced(serial))


def ends_in(log: str) -> Counter[str]:
    """How often each image came to an end in a log, by path."""
    return Counter(re.findall(r"image\.(?:done|duplicate|quarantined) .*?path=(\S+)", log))


def run(program: Path, folder: Path, number: int, seed: int) -> list[str]:
    """Cut so many times; prints the figures, and returns what was wrong."""
    began = time.monotonic()
    wrong: list[str] = []
    # What the processes printed is shown at their end, and is long: every cut makes errors that are meant.
    with (folder / "output").open("w") as output, redirect_stdout(output), thumbdrops(program, folder) as make:
        cuts = Cuts(make(None), seed)
        cuts.set_up()
        for cut in range(1, number + 1):
            before = cuts.work_until_the_cut()
            found = cuts.judge(at_the_end=False)
            wrong += [f"after cut {cut}: {line}" for line in found.wrong]
            _tell(f"cut {cut} after {before} images: {len(cuts.counted())} dropped so far, {len(found.wrong)} wrong")
        cuts.drain()
        last = cuts.judge(at_the_end=True)
        wrong += [f"at the end: {line}" for line in last.wrong]
        fates = ", ".join(f"{count} {fate}" for fate, count in sorted(last.fates.items()))
        twice = sum(count - 1 for count in cuts.ended().values())
        _tell(
            f"seed {seed}: {number} cuts, {len(cuts.counted())} files dropped, {fates}, {last.lost_unsynced} lost that "
            f"nobody had synced, {twice} worked on twice, {cuts.redis_repairs()} repairs of the embedded Redis's files, "
            f"{len(wrong)} wrong, {time.monotonic() - began:.0f} s"
        )
    return wrong


def _tell(line: str) -> None:
    print(line, file=sys.__stdout__, flush=True)


def _main() -> int:
    parser = argparse.ArgumentParser(description="Power cuts on a file system of its own.")
    parser.add_argument("--cuts", type=int, default=10)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6))
    asked = parser.parse_args()
    program = Path(sys.executable).with_name("thumbdrop")
    with tempfile.TemporaryDirectory(prefix="thumbdrop-cuts-", dir="/var/tmp", ignore_cleanup_errors=True) as folder:
        wrong = run(program, Path(folder), asked.cuts, asked.seed)
    _tell("\n".join(wrong) or "all is well")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(_main())
