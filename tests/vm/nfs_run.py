"""Inboxes on NFS: a virtual machine serves them, mounts them over NFSv4.2 and NFSv3, and has a second client write to them.

    python tests/vm/nfs_run.py      (make test-nfs)

Each act prints a line, and AssertionError ends the run. What a reader would get wrong: that all is on one machine hides
nothing of what is tested, for client and server have caches of their own; only a real network's failures are missing.
"""

import json
import re
import shutil
import sys
import tarfile
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import vm_image
from images import encoded, photo
from power_judge import Drop, Judge
from vm_machine import Machine, machine, make_data_disk, mounted_copy, say
from waiting import wait_until

HERE = Path(__file__).parent
SETTLE_SECONDS = 5
SETTINGS = f"""\
[[inbox]]
path = "/mnt/four"
settle = "{SETTLE_SECONDS}s"
[[inbox]]
path = "/mnt/three"
settle = "{SETTLE_SECONDS}s"
[[inbox]]
path = "/mnt/slow"
[[inbox]]
path = "/srv/local"
settle = "1s"
[library]
path = "/srv/library"
min_free = "1MB"
[thumbnails]
sizes = ["640x640", "200x200"]
[category]
default = "{{inbox}}"
[limits]
task_time = "180s"
[watcher]
rescan = "5s"
"""
NETWORK = ("four", "three")
_SIZES = ((1600, 1200), (640, 480), (1024, 1365), (300, 300))
_LARGE = (2000, 1500)
_PAUSE_SECONDS = 12  # longer than settle
_PATIENCE_SECONDS = 900.0  # minutes on idle cores; an emulated machine on busy ones is many times slower
_SLOW_PAUSE_SECONDS = 8  # longer than knfsd keeps a file of NFSv3 open, shorter than the default settle of 30 s


class Stage:
    """The machine with its Thumbdrop, and what was dropped so far: the inbox and name of every file, and its content."""

    def __init__(self, vm: Machine, folder: Path) -> None:
        self.vm = vm
        self.dropped: dict[str, bytes] = {}
        self._log = folder / "log"
        self._serial = 0

    def set_up(self) -> None:
        """Serve, mount, and start Thumbdrop."""
        self.vm.write("/etc/thumbdrop/thumbdrop.toml", SETTINGS)
        for name in ("guest_nfs.sh", "guest_pauses.py"):
            self.vm.write(f"/root/{name}", (HERE / name).read_bytes())
        say(self.vm.run("mkdir -p /root/photos && sh /root/guest_nfs.sh", seconds=300))
        self.vm.run("systemctl start thumbdrop")
        self.vm.start("journalctl -b -f -n all -o cat -u thumbdrop", self._log)
        self.wait(
            lambda: "worker.ready" in self.log and self.log.count("inbox.held ") == 4,
            "Thumbdrop is ready",
            _PATIENCE_SECONDS,
        )

    # -- dropping

    def photos(self, count: int, size: tuple[int, int] | None = None) -> list[str]:
        """Bring so many new photos into the machine, and return their names there."""
        made = {}
        for _ in range(count):
            self._serial += 1
            content = encoded(photo(*(size or _SIZES[self._serial % len(_SIZES)]), seed=self._serial), quality=85)
            made[f"{self._serial:03}.jpg"] = content
        packed = BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as tar:
            for name, content in made.items():
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                tar.addfile(entry, BytesIO(content))
        self.vm.run("tar -x -C /root/photos", packed.getvalue())
        self.dropped |= made
        return list(made)

    def drop(self, names: list[str], folder: str) -> None:
        """Copy photos into a folder of the machine as the service's user."""
        self.vm.run(f"cd /root/photos && install -m 664 -o thumbdrop -g thumbdrop {' '.join(names)} {folder}/")

    # -- looking

    @property
    def log(self) -> str:
        """All that Thumbdrop has logged."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def ended(self) -> Counter[str]:
        """How often each photo came to an end, by name."""
        return Counter(re.findall(r"image\.(?:done|duplicate|quarantined) .*?path=(\S+)", self.log))

    def done(self, names: list[str]) -> list[str]:
        """Those of them that are done."""
        ended = self.ended()
        return [name for name in names if ended[name]]

    def wait_done(self, names: list[str], seconds: float = _PATIENCE_SECONDS) -> float:
        """Wait until they are all done; how long that took."""
        began = time.monotonic()
        self.wait(lambda: len(self.done(names)) == len(names), f"all of {names} are done", seconds)
        return time.monotonic() - began

    def wait(self, condition: Callable[[], bool], what: str, seconds: float) -> None:
        """Wait for something here."""
        wait_until(condition, f"{what}; see {self._log}", seconds, every=0.5)

    def status(self) -> dict[str, dict[str, Any]]:
        """What `status` says of each inbox."""
        told = json.loads(self._thumbdrop("status --json"))
        return {inbox["name"]: inbox for inbox in told["inboxes"]}

    def why(self, path: str) -> dict[str, Any]:
        """The story of one file."""
        story: dict[str, Any] = json.loads(self._thumbdrop(f"why {path} --json"))
        return story

    def _thumbdrop(self, words: str) -> str:
        """What a command says, whether or not it finds something wrong."""
        return self.vm.run(
            f"runuser -u thumbdrop -- timeout 300 /opt/thumbdrop/bin/thumbdrop {words} "
            "--config /etc/thumbdrop/thumbdrop.toml || [ $? = 1 ]",
            seconds=320,
        )


def _is_recognised(stage: Stage) -> None:
    """They are taken for what they are, and say so."""
    told = stage.status()
    for name, kind in (("four", "nfs4"), ("three", "nfs"), ("slow", "nfs")):
        assert (told[name]["backend"], told[name]["watches"]) == ("poll", 0), told[name]
        assert re.search(rf"\b{kind}\b", told[name]["why"]), told[name]
    assert told["local"]["backend"] == "inotify", told["local"]
    for name, inbox in told.items():
        say(f"recognised: {name}: {inbox['backend']}, because {inbox['why']}")


def _both_sides(stage: Stage) -> None:
    """Files that the server's own users write, and those of another client, are ingested once."""
    names = []
    for inbox in NETWORK:
        for side in ("/srv/export", "/client"):
            dropped = stage.photos(6)
            stage.drop(dropped, f"{side}/{inbox}")
            names += dropped
    story = stage.why(f"/mnt/{inbox}/{dropped[-1]}")
    say(f"why, at once: {story['state']}: {'; '.join(story['story'])}")
    seconds = stage.wait_done(names)
    say(f"written on both sides: {len(names)} done within {seconds:.0f} s")


def _pauses(stage: Stage) -> None:
    """A writer over NFSv3 that pauses for longer, and one that pauses for shorter than the file has to rest."""
    (often, slow, plain) = stage.photos(3, _LARGE)
    begun = [
        stage.vm.start(
            f"python3 /root/guest_pauses.py /root/photos/{name} {target}/{name} 4 {pause}", Path("/dev/stderr")
        )
        for name, target, pause in (
            (often, "/client/three", _PAUSE_SECONDS),
            (slow, "/client/slow", _SLOW_PAUSE_SECONDS),
        )
    ]
    stage.drop([plain], "/srv/export/slow")
    dropped_at = time.monotonic()
    seconds = stage.wait_done([plain])
    waited = time.monotonic() - dropped_at
    assert waited > 28, (
        f"by default a file on a network mount rests for 30 s, and this one was taken after {waited:.0f} s"
    )
    say(f"settle by default: done {seconds:.0f} s after it was dropped")
    stage.wait_done([often, slow])
    assert all(client.wait() == 0 for client in begun)
    put_off = len(re.findall(rf"image\.put_off .*?path={often}\b", stage.log))
    assert not re.search(rf"image\.put_off .*?path={slow}\b", stage.log), "it was taken in a pause"
    say(f"a writer with pauses of {_PAUSE_SECONDS} s (settle {SETTLE_SECONDS} s): put off {put_off} times, then done")
    say(f"a writer with pauses of {_SLOW_PAUSE_SECONDS} s (settle 30 s): never put off, done")


def _restart(stage: Stage) -> None:
    """The server restarts in the middle of work."""
    names = _drop_many(stage, 8)
    stage.wait(lambda: len(stage.done(names)) >= 2, "work is under way", _PATIENCE_SECONDS)
    before = len(stage.done(names))
    assert before < len(names) - 4, "it was too quick for the test to come between"
    stage.vm.run("systemctl restart nfs-server")
    seconds = stage.wait_done(names)
    say(f"restarted after {before} of {len(names)}: the others done within {seconds:.0f} s")


def _hang(stage: Stage) -> None:
    """The server stops, so that its hard mounts hang: the local inbox goes on, and status says what hangs."""
    names = _drop_many(stage, 8)
    stage.wait(lambda: len(stage.done(names)) >= 2, "work is under way", _PATIENCE_SECONDS)
    with _stopped_server(stage):
        before = len(stage.done(names))
        assert before < len(names) - 4, "it was too quick for the test to come between"
        local = stage.photos(6)
        stage.drop(local, "/srv/local")
        seconds = stage.wait_done(local)
        say(f"hanging after {before} of {len(names)}: {len(local)} in the local inbox done within {seconds:.0f} s")
        told = stage.vm.ask(
            lambda: _all_offline(stage.status()), "status names the inboxes that hang", _PATIENCE_SECONDS
        )
        say(f"status: {told['four']['offline_why']}")
        (waiting, *_) = [name for name in names if name not in stage.done(names)]
        story = stage.why(f"/mnt/four/{waiting}")
        assert story["state"] == "offline", story
        late = stage.photos(1)
        stage.drop(late, "/srv/local")
        seconds = stage.wait_done(late)
        say(f"why: {story['state']}; one more in the local inbox: done within {seconds:.0f} s")
        more = len(stage.done(names)) - before
    # Asked of the server: whose removal was under way when it stopped is done, though no worker heard of it to say so.
    began = time.monotonic()
    stage.vm.ask(
        lambda: not stage.vm.run("find /srv/export ! -type d").strip(), "the others are taken", _PATIENCE_SECONDS
    )
    seconds, untold = time.monotonic() - began, len(names) - len(stage.done(names))
    say(f"{more} more were finished while it hung, the others within {seconds:.0f} s after the server was back")
    say(f"{untold} ended without a word in the log; whether they are whole is judged below")
    stage.vm.ask(lambda: not _offline(stage.status()), "status says that all is well again", _PATIENCE_SECONDS)


def _drop_many(stage: Stage, count: int) -> list[str]:
    names = []
    for inbox in NETWORK:
        dropped = stage.photos(count, _LARGE)
        stage.drop(dropped, f"/srv/export/{inbox}")
        names += dropped
    return names


@contextmanager
def _stopped_server(stage: Stage) -> Iterator[None]:
    stage.vm.run("systemctl stop nfs-server")
    try:
        yield
    finally:
        stage.vm.run("systemctl start nfs-server")


def _offline(told: dict[str, dict[str, Any]]) -> set[str]:
    return {name for name, inbox in told.items() if inbox["offline_why"]}


def _all_offline(told: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]] | None:
    return told if _offline(told) == {"four", "three", "slow"} else None


def _judge(stage: Stage, data: Path, folder: Path) -> None:
    """Everything is there, whole and once, and nothing is left, hidden or not."""
    with mounted_copy(data, folder) as root:
        left = [str(file) for file in (root / "export").rglob("*") if not file.is_dir()]
        assert left == [], left

        def drop_of(path: str) -> Drop:
            return Drop(stage.dropped[path], "done", is_synced=True)

        found = Judge(root / "library", root / "local", drop_of, set(stage.dropped)).judge(at_the_end=True)
        library = root / "library" / "manifests"
        manifests = [file for file in library.rglob("*.json") if not file.relative_to(library).parts[0].startswith(".")]
    assert found.wrong == [], "\n".join(found.wrong)
    assert found.unfinished == 0
    assert len(manifests) == len(stage.dropped), f"{len(manifests)} manifests for {len(stage.dropped)} files"


def _main() -> int:
    if missing := vm_image.missing_tools():
        say(f"not to be had here: {', '.join(missing)}; see tests/vm/vm_image.py")
        return 2
    folder = Path(tempfile.mkdtemp(prefix="thumbdrop-nfs-", dir="/var/tmp"))
    say(f"in {folder}")
    began = time.monotonic()
    data = folder / "data.img"
    make_data_disk(data, "2G")
    with machine(vm_image.build(folder / "root.img"), folder, data) as vm:
        say(f"booted in {vm.boot():.0f} s")
        stage = Stage(vm, folder)
        stage.set_up()
        for act in (_is_recognised, _both_sides, _pauses, _restart, _hang):
            act(stage)
        # A machine that serves its own mounts could hang in them on its way down.
        vm.run("systemctl stop thumbdrop && umount -a -t nfs,nfs4", seconds=_PATIENCE_SECONDS)
        vm.shut_down()
    _judge(stage, data, folder)
    twice = sum(number - 1 for number in stage.ended().values())
    say(f"{len(stage.dropped)} files, each done once; {twice} worked on twice; {time.monotonic() - began:.0f} s")
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(_main())
