"""Power cuts: a virtual machine that ingests photos is killed again and again, and nothing is lost or half-written.

    python tests/vm/power_run.py [--kills 8] [--seed N] [--without-fsync]      (make test-power)

After each cut a copy of the disk is judged as it is, before anything has mended it; at the end, after the last boot
has finished all work, once more. Prints a table of figures; exit code 1 when anything was wrong. `--without-fsync` shows
that the test can fail: fsync(2) of everything but the clients does nothing then (eatmydata), and it must end with 1.
"""

import argparse
import re
import secrets
import shutil
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from random import Random

import guest_dropper
import vm_image
from images import encoded, photo
from power_judge import Drop, Findings, Judge
from vm_machine import Machine, machine, make_data_disk, mounted_copy, say
from waiting import wait_until

SETTINGS = """\
[[inbox]]
path = "/srv/thumbdrop/inbox"
settle = "1s"
[library]
path = "/srv/thumbdrop/library"
min_free = "1MB"
[thumbnails]
sizes = ["640x640", "200x200"]
[limits]
task_time = "30s"
truncated_grace = "20s"
empty_grace = "10s"
[watcher]
rescan = "5s"
"""
_SIZES = ((1600, 1200), (640, 480), (1024, 1365), (300, 300), (2400, 1600))
# The moment of a cut: after so many images since the boot, however slow this machine is, and a little later.
_IMAGES_BEFORE_A_CUT = 1, 25
_LATER_SECONDS = 2.0
_WORK_SECONDS = 600.0
_DRAIN_SECONDS = 900.0
# A guest that is ten times slower than a real machine has to have ten times as long to lose what is not synced.
_LATE_WRITING = "vm.dirty_expire_centisecs = 60000\nvm.dirty_writeback_centisecs = 0\n"
_NO_SYNC = "[Service]\nEnvironment=LD_PRELOAD=/usr/lib/x86_64-linux-gnu/libeatmydata.so\n"


@dataclass
class Figures:
    """What happened."""

    seed: int
    kills: int = 0
    images_before: list[int] = field(default_factory=list)
    boot_seconds: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    unfinished: int = 0
    redis_repaired: int = 0
    began: float = field(default_factory=time.monotonic)

    def table(self, counted: set[str], ended: Counter[str], last: Findings) -> str:
        """The figures, a line each."""
        synced = sum(guest_dropper.is_synced(guest_dropper.serial_of(path)) for path in counted)
        rows = [
            ("seed", self.seed),
            ("power cuts", self.kills),
            ("images done in the boot before each", " ".join(map(str, self.images_before))),
            ("files dropped", len(counted)),
            ("  and synced by their client", synced),
            *((f"  ended: {fate}", number) for fate, number in sorted(last.fates.items())),
            ("  lost or cut short, never synced, never ours", last.lost_unsynced),
            ("images worked on twice (seen in the log)", sum(number - 1 for number in ended.values())),
            ("thumbnails found ahead of their manifest", self.unfinished),
            ("repairs of the embedded Redis's files", self.redis_repaired),
            ("wrong", len(self.wrong)),
            ("seconds for a boot", " ".join(f"{it:.0f}" for it in self.boot_seconds)),
            ("duration", f"{time.monotonic() - self.began:.0f} s"),
        ]
        return "\n".join([*(f"{name:<45} {value}" for name, value in rows), *self.wrong])


class PowerCuts:
    """One run in a folder of its own."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.figures = Figures(seed)
        self._folder = folder
        self._rng = Random(seed)
        self._bases = [encoded(photo(*size), quality=88) for size in _SIZES]
        self._log = folder / "log"
        self._told = folder / "dropped"
        self._next_serial = 0

    def run(self, kills: int, *, with_fsync: bool) -> str:
        """Do it all; the table. What was wrong is in `figures`."""
        image = vm_image.build(self._folder / "root.img")
        make_data_disk(self._folder / "data.img", "2G")
        with machine(image, self._folder, self._folder / "data.img") as vm:
            self._boot(vm)
            self._settle_in(vm, with_fsync=with_fsync)
            for _ in range(kills):
                if self.figures.kills:
                    self._boot(vm)
                self._work_until_the_cut(vm)
                self._judge("cut", at_the_end=False)
            self._boot(vm)
            self._drain(vm)
            vm.shut_down()
            last = self._judge("end", at_the_end=True)
        self.figures.redis_repaired = self._log_text().count("redis.data_")
        return self.figures.table(self._counted(), self._ended(), last)

    def _boot(self, vm: Machine) -> None:
        self.figures.boot_seconds.append(vm.boot())

    def _settle_in(self, vm: Machine, *, with_fsync: bool) -> None:
        vm.run("mkdir -p /root/bases /etc/systemd/system/thumbdrop.service.d")
        for number, base in enumerate(self._bases):
            vm.write(f"/root/bases/{number}", base)
        vm.write("/root/guest_dropper.py", Path(guest_dropper.__file__).read_bytes())
        vm.write("/etc/thumbdrop/thumbdrop.toml", SETTINGS)
        vm.write("/etc/sysctl.d/late.conf", _LATE_WRITING)
        if not with_fsync:
            vm.write("/etc/systemd/system/thumbdrop.service.d/no-sync.conf", _NO_SYNC)
        vm.run(
            "cd /srv && install -d -o thumbdrop -g thumbdrop -m 2775 thumbdrop thumbdrop/inbox && "
            "install -d -o thumbdrop -g thumbdrop thumbdrop/library && "
            "mkdir -p /etc/systemd/system/multi-user.target.wants && "
            "ln -s ../thumbdrop.service /etc/systemd/system/multi-user.target.wants/ && "
            "sysctl -q --system && systemctl daemon-reload && systemctl start thumbdrop && sync"
        )

    def _work_until_the_cut(self, vm: Machine) -> None:
        ended_before = self._ended().total()
        wanted = self._rng.randint(*_IMAGES_BEFORE_A_CUT)
        following = vm.start("journalctl -b -f -n all -o cat -u thumbdrop", self._log)
        inbox = "/srv/thumbdrop/inbox"
        dropping = vm.start(
            f"python3 /root/guest_dropper.py {inbox} /root/bases {self._next_serial} thumbdrop", self._told
        )
        wait_until(
            lambda: self._ended().total() >= ended_before + wanted,
            f"{wanted} images are done",
            _WORK_SECONDS,
            every=0.1,
        )
        time.sleep(self._rng.uniform(0, _LATER_SECONDS))
        assert dropping.poll() is None, f"the client has ended: {self._told.read_text()}"
        vm.cut_power()
        for ssh in (following, dropping):
            ssh.kill()
            ssh.wait()
        self.figures.kills += 1
        self.figures.images_before.append(self._ended().total() - ended_before)
        self._next_serial = max(map(guest_dropper.serial_of, self._counted()), default=0) + 10

    def _drain(self, vm: Machine) -> None:
        following = vm.start("journalctl -b -f -n all -o cat -u thumbdrop", self._log)
        vm.ask(
            lambda: not vm.run("find /srv/thumbdrop/inbox -type f -not -name '.*'"),
            "the inbox is empty in the end",
            _DRAIN_SECONDS,
        )
        following.kill()
        following.wait()

    def _judge(self, when: str, *, at_the_end: bool) -> Findings:
        with mounted_copy(self._folder / "data.img", self._folder) as root:
            ours = root / "thumbdrop"
            judge = Judge(ours / "library", ours / "inbox", self._drop_of, self._counted())
            found = judge.judge(at_the_end=at_the_end)
        self.figures.unfinished += found.unfinished
        self.figures.wrong += [f"after cut {self.figures.kills}, {when}: {line}" for line in found.wrong]
        fates = ", ".join(f"{number} {fate}" for fate, number in sorted(found.fates.items()))
        say(
            f"cut {self.figures.kills}, {when}: {len(self._counted())} dropped, {fates}, {found.waiting} in the inbox, "
            f"{found.unfinished} thumbnails ahead of their manifest, {len(found.wrong)} wrong"
        )
        return found

    def _drop_of(self, path: str) -> Drop:
        return _drop(guest_dropper.serial_of(path), tuple(self._bases))

    def _counted(self) -> set[str]:
        """The paths whose clients have said that they are dropped."""
        text = self._told.read_text() if self._told.exists() else ""
        return set(re.findall(r"^dropped (\S+)$", text, re.MULTILINE))

    def _log_text(self) -> str:
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def _ended(self) -> Counter[str]:
        """How often each image was seen to end."""
        return Counter(re.findall(r"image\.(?:done|duplicate|quarantined) .*?path=(\S+)", self._log_text()))


@cache
def _drop(serial: int, bases: tuple[bytes, ...]) -> Drop:
    content = guest_dropper.content_of(serial, bases)
    return Drop(content, guest_dropper.fate_of(serial), guest_dropper.is_synced(serial))


def _main() -> int:
    parser = argparse.ArgumentParser(description="Power cuts in a virtual machine.")
    parser.add_argument("--kills", type=int, default=8)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6))
    parser.add_argument("--without-fsync", action="store_true", help="show that the test can fail")
    parser.add_argument("--keep", action="store_true", help="keep disks and logs")
    asked = parser.parse_args()
    if missing := vm_image.missing_tools():
        say(f"not to be had here: {', '.join(missing)}; see tests/vm/vm_image.py")
        return 2
    folder = Path(tempfile.mkdtemp(prefix="thumbdrop-power-", dir="/var/tmp"))
    say(f"seed {asked.seed}, in {folder}")
    run = PowerCuts(folder, asked.seed)
    try:
        say(run.run(asked.kills, with_fsync=not asked.without_fsync))
    finally:
        if not asked.keep and not run.figures.wrong and sys.exc_info()[0] is None:
            shutil.rmtree(folder)
    return 1 if run.figures.wrong else 0


if __name__ == "__main__":
    sys.exit(_main())
