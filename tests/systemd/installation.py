"""Thumbdrop as its users have it: installed from the package in a booted Debian, with photos uploaded by SFTP.

thumbdrop.upload({"a.jpg": photo})                      # as alice, with the sftp program, to her inbox
thumbdrop.wait_done("a.jpg")                            # thumbnails, manifest and original are in the library
thumbdrop.machine.succeed("systemctl", "stop", "thumbdrop.target")
thumbdrop.events("image.done")                          # from the journal, each a dictionary of its fields
"""

import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path, PurePosixPath

from PIL import Image

from booted import Machine
from images import encoded, photo
from needs import ROOT
from waiting import wait_until

WATCHER, BEAT = "thumbdrop-watcher.service", "thumbdrop-beat.service"
WORKERS = ("thumbdrop-worker@1.service", "thumbdrop-worker@2.service")
SERVICES = (WATCHER, *WORKERS, BEAT)

USER = "alice"  # of the README
HOME = f"srv/thumbdrop/sftp/{USER}"  # what she sees as /
SIZES = ("1280x1280", "640x640", "200x200")

# Short times, so that a test need not wait for what is meant to take long. A lease is task_time + 10 s.
_SETTINGS = f"""\
[[inbox]]
path = "/srv/thumbdrop/inbox"
[[inbox]]
path = "/{HOME}/inbox"
name = "{USER}"
[library]
path = "/srv/thumbdrop/library"
min_free = "20MB"
[broker]
url = "redis://127.0.0.1:6379/0"
[watcher]
rescan = "5s"
[limits]
task_time = "15s"
[state]
path = "/var/lib/thumbdrop"
"""
_SSH_CONFIG = f"""\
Host thumbdrop
HostName 127.0.0.1
User {USER}
IdentityFile /root/{USER}
StrictHostKeyChecking no
UserKnownHostsFile /dev/null
LogLevel ERROR
"""


class Installation:
    """One Thumbdrop on one machine; paths are given as on that machine, without the leading slash."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.library = machine.root / "srv/thumbdrop/library"
        self.inbox = machine.root / HOME / "inbox"
        self.toml = machine.root / "etc/thumbdrop/thumbdrop.toml"
        self.settings = _SETTINGS

    # -- making it

    def follow_readme(self, *markers: str) -> None:
        """Do what the README says, command by command: its blocks below these markers, as root in /root."""
        for marker in markers:
            for block in readme_blocks(marker):
                self.machine.shell(f"cd /root\n{block}", seconds=400)

    def bring(self, package: Path) -> None:
        """Put a package where the README expects it."""
        for old in self.machine.root.glob("root/thumbdrop_*.deb"):
            old.unlink()
        (self.machine.root / "root" / package.name).write_bytes(package.read_bytes())

    def configure(self, settings: str) -> None:
        """Write the settings; who reads them when is the test's to say."""
        self.toml.write_text(settings)

    def make_client(self) -> None:
        """Make the key of an uploader, whose public half the README's commands expect."""
        home = self.machine.root / "root"
        (home / "outbox").mkdir()
        (home / ".ssh").mkdir(mode=0o700, exist_ok=True)
        (home / ".ssh/config").write_text(_SSH_CONFIG)
        self.machine.succeed("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", f"/root/{USER}")

    # -- using it

    def upload(self, photos: Mapping[str, bytes], *commands: str) -> None:
        """Put photos into the inbox with an SFTP client, as names below it; `commands` are the client's, and come first."""
        outbox = self.machine.root / "root/outbox"
        batch = list(commands)
        for index, (name, content) in enumerate(photos.items()):
            (outbox / str(index)).write_bytes(content)
            batch.append(f'put /root/outbox/{index} "/inbox/{name}"')
        self.machine.succeed("sftp", "-q", "-b", "-", "thumbdrop", stdin="\n".join(batch).encode(), seconds=120)

    def is_done(self, name: str) -> bool:
        """Whether a photo has everything in the library, and is no longer in the inbox."""
        slot = PurePosixPath(name if "/" in name else f"uncategorized/{name}")
        thumbnails = [self.library / f"thumbnails/{slot.parent}/{box}/{slot.stem}_{box}.jpg" for box in SIZES]
        record = self.library / f"manifests/{slot.with_suffix('.json')}"
        files = [*thumbnails, record, self.library / f"originals/{slot}"]
        return all(file.exists() for file in files) and not (self.inbox / name).exists()

    def wait_done(self, *names: str, seconds: float = 120) -> None:
        """Wait until photos have ended in the library."""
        try:
            wait_until(lambda: all(map(self.is_done, names)), "the photos are done", seconds, every=0.2)
        except AssertionError as error:
            missing = [name for name in names if not self.is_done(name)]
            raise AssertionError(f"not done: {missing}\n{self.journal_tail()}") from error

    def done_so_far(self, names: Sequence[str]) -> int:
        """How many photos are done."""
        return sum(map(self.is_done, names))

    def assert_whole(self) -> None:
        """Nothing half stands under a final name: every picture can be decoded, every manifest has its files."""
        for file in self.library.rglob("thumbnails/*/*/[!.]*.jpg"):
            with Image.open(BytesIO(file.read_bytes())) as picture:
                picture.load()
        for file in self.library.glob("manifests/*/[!.]*.json"):
            found = json.loads(file.read_bytes())
            for path in [one["path"] for one in found["thumbnails"]]:
                assert (self.library / path).stat().st_size > 0, path

    # -- asking

    def show(self, unit: str, key: str) -> str:
        """A property of a unit, as systemd tells it."""
        return self.machine.succeed("systemctl", "show", "--value", "--property", key, unit).strip()

    def main_pid(self, unit: str) -> int:
        """The main process of a unit, by the machine's own numbers; 0 when there is none."""
        return int(self.show(unit, "MainPID"))

    def wait_running(self, *units: str, seconds: float = 60) -> None:
        """Wait until services are up: the watcher with its watches armed, workers taking messages."""
        for unit in units or SERVICES:
            try:
                wait_until(lambda one=unit: self.show(one, "ActiveState") == "active", f"{unit} is up", seconds, 0.2)  # type: ignore[misc]
            except AssertionError as error:
                raise AssertionError(f"{error}\n{self.journal_tail()}") from error

    def start(self) -> None:
        """Start everything, with two workers, and wait until it is up."""
        self.machine.succeed("systemctl", "reset-failed", "thumbdrop*")
        self.machine.succeed("systemctl", "start", "thumbdrop.target", *WORKERS, seconds=120)
        self.wait_running()

    def stop(self) -> None:
        """Stop everything, and wait for it: the target alone is gone at once, and its services follow."""
        self.machine.succeed("systemctl", "stop", "thumbdrop.target", *SERVICES, seconds=120)

    def now(self) -> str:
        """This moment, for `events` and `journal`."""
        time.sleep(0.001)
        return f"@{time.time():.6f}"

    def journal(self, since: str = "", *matches: str) -> list[dict[str, str]]:
        """All entries of our services."""
        self.machine.succeed("journalctl", "--sync")
        told = [f"--since={since}"] if since else []
        text = self.machine.succeed("journalctl", "-u", "thumbdrop*", "-o", "json", "--no-pager", *told, *matches)
        return [json.loads(line) for line in text.splitlines()]

    def events(self, event: str, since: str = "") -> list[dict[str, str]]:
        """The entries of one event."""
        return self.journal(since, f"THUMBDROP_EVENT={event}")

    def journal_tail(self) -> str:
        """What the operator would look at."""
        return self.machine.succeed("journalctl", "-u", "thumbdrop*", "--no-pager", "-n", "40")

    # -- changing units

    @contextmanager
    def drop_in(self, unit: str, text: str) -> Iterator[None]:
        """Change a unit, or by "thumbdrop-.service" all of them; who is restarted when is the test's to say."""
        folder = self.machine.root / f"etc/systemd/system/{unit}.d"
        folder.mkdir(exist_ok=True)
        file = folder / f"6{len(list(folder.iterdir()))}-test.conf"  # the later one wins
        file.write_text(text)
        self.machine.succeed("systemctl", "daemon-reload")
        try:
            yield
        finally:
            file.unlink()
            self.machine.succeed("systemctl", "daemon-reload")


def readme_blocks(marker: str) -> list[str]:
    """The README's blocks of commands below `<!-- marker -->`."""
    found = re.findall(rf"<!-- {re.escape(marker)} -->\n```sh\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert found, f"README.md has no block for {marker}"
    return found


_base: list[Image.Image] = []


def photos(stem: str, count: int) -> dict[str, bytes]:
    """Photos of 12 megapixels, each another one: work for some tenths of a second each."""
    if not _base:
        _base.append(photo(4000, 3000))
    found = {}
    for index in range(count):
        picture = _base[0].copy()
        mark = sum(stem.encode()) % 251
        picture.paste((index % 256, mark, len(stem)), (600, 600, 700, 700))
        found[f"{stem}-{index}.jpg"] = encoded(picture, "jpeg", quality=80)
    return found
