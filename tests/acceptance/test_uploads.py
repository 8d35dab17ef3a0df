"""Every kind of writer there is, against one running Thumbdrop: each photo is done exactly once, with its whole bytes.

The clients are the real ones, over a real SFTP server or a real rsync daemon. All tests of this module share the servers
and one Thumbdrop; each has names of its own. What a reader would get wrong: that nothing half ever came into the library
is shown by the last test, for what is wrong in there stays there.
"""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import pytest

from images import image_bytes
from needs import need
from running import SETTINGS, Thumbdrop, assert_complete, files_below, path_in, source_path, thumbdrops
from servers import die_with_pytest, free_ports
from sftp import HOST, USER, SftpServer, sftp_servers
from waiting import wait_until

pytestmark = [pytest.mark.faults]

SETTLE_SECONDS = 0.4
# "patient" has the settle time that people get. Without a rescan for ten minutes nothing makes up for an event that was
# overlooked.
TWO_INBOXES = (
    SETTINGS.replace('path = "inbox"', 'path = "{inbox}"').replace('"300ms"', f'"{SETTLE_SECONDS}s"')
    + """
[[inbox]]
path = "{patient}"

[watcher]
rescan = "10m"
"""
)
_ALIVE_SECONDS = 1  # how long the server waits before it asks a silent client whether it is still there
_RATE_KB = 300  # KB a second, of a client that is to be interrupted
_RSYNCD_CONF = """\
port = {port}
address = 127.0.0.1
use chroot = no
uid = {user}
gid = {group}
log file = {folder}/rsyncd.log
[inbox]
path = {inbox}
read only = no
"""


@dataclass
class Site:
    """Thumbdrop, the servers that its uploaders know, and what they have uploaded."""

    thumbdrop: Thumbdrop
    server: SftpServer
    rsync_url: str
    client: Path  # the uploaders' own folder, on the inbox's file system
    patient: Path
    dropped: dict[str, bytes] = field(default_factory=dict)

    @property
    def inbox(self) -> Path:
        """The folder that most clients upload to."""
        return self.server.inbox

    def photo(self, name: str, width: int = 320, height: int = 220) -> Path:
        """A new photo among the uploaders' own files; no two have the same bytes."""
        content = image_bytes("jpeg", width, height, quality=95)
        comment = b"\xff\xfe\x00\x0a" + hashlib.sha256(name.encode()).digest()[:8]  # ITU-T T.81, B.2.4.5
        file = self.client / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content[:2] + comment + content[2:])
        os.utime(file, (1_577_934_245, 1_577_934_245))  # from 2020, for those who preserve it
        return file

    def large_photo(self, name: str) -> Path:
        """A photo that takes a client with a limited rate more than a second."""
        return self.photo(name, 2600, 1900)

    def run(self, *words: str | Path, stdin: str = "") -> None:
        """Run a client; it may not see an error."""
        done = subprocess.run(
            [str(word) for word in words],
            input=stdin,
            env=self.environ,
            cwd=self.client,
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )
        assert done.returncode == 0, f"{words} ended with {done.returncode}: {done.stdout}{done.stderr}"

    @property
    def environ(self) -> dict[str, str]:
        """Nothing of the caller's settings for these programs."""
        home = str(self.client)
        return {"PATH": os.environ["PATH"], "HOME": home, "LFTP_HOME": home, "RCLONE_CONFIG": f"{home}/none"}

    # -- clients

    def sftp(self, *lines: str, options: tuple[str, ...] = ()) -> None:
        """One connection of OpenSSH's sftp."""
        self.run("sftp", "-q", "-b", "-", *options, "-F", self.server.ssh_config, f"{HOST}:/inbox", stdin=_lines(lines))

    def scp(self, *words: str | Path) -> None:
        """OpenSSH's scp, over SFTP."""
        self.run("scp", "-q", "-F", self.server.ssh_config, *words, f"{HOST}:/inbox/")

    def scp_of_old(self, *words: str | Path) -> None:
        """The scp protocol before SFTP; its other side runs on this machine, because our SFTP user has no shell."""
        remote = self.client / "remote-shell"
        remote.write_text('#!/bin/sh\nwhile [ "$1" != -- ]; do shift; done\nshift 2\nexec sh -c "$*"\n')
        remote.chmod(0o755)
        self.run("scp", "-O", "-q", "-S", remote, *words, f"{HOST}:{self.inbox}/")

    def rsync(self, *words: str | Path) -> None:
        """Rsync to its daemon."""
        self.run("rsync", *words, self.rsync_url)

    def lftp_words(self, *commands: str) -> list[str]:
        """Run lftp over SFTP."""
        connect = f"set sftp:connect-program 'ssh -a -x -F {self.server.ssh_config}'; set sftp:auto-confirm yes"
        fail = "set cmd:fail-exit yes; set net:max-retries 1"
        script = "; ".join([connect, fail, f"open -u {USER}, sftp://{HOST}", "cd /inbox", *commands, "bye"])
        return ["lftp", "--norc", "-c", script]

    def lftp(self, *commands: str) -> None:
        """Run lftp over SFTP to its end."""
        self.run(*self.lftp_words(*commands))

    def curl_words(self, *words: str) -> list[str]:
        """Run curl over SFTP."""
        key = str(self.server.key)
        return ["curl", "-sS", "-k", "--key", key, "--pubkey", f"{key}.pub", "-u", f"{USER}:", *words]

    def url(self, name: str) -> str:
        """The address of a file in the inbox."""
        return f"sftp://127.0.0.1:{self.server.port}/inbox/{name}"

    def rclone_words(self, *words: str) -> list[str]:
        """Run rclone over SFTP; `:sftp:` in the words is the server."""
        where = ["--sftp-host", "127.0.0.1", "--sftp-port", str(self.server.port)]
        who = ["--sftp-user", USER, "--sftp-key-file", str(self.server.key)]
        return ["rclone", "--retries", "1", *where, *who, *words]

    # -- what becomes of it

    def expect(self, *files: Path, below: str = "") -> list[str]:
        """Note that these will come; their paths below the inbox."""
        names = [os.path.join(below, file.relative_to(self.client)) for file in files]
        self.dropped |= {name: file.read_bytes() for name, file in zip(names, files, strict=True)}
        return names

    def manifests_of(self, name: str) -> list[dict[str, Any]]:
        """What a photo has become."""
        return [manifest for manifest in self.thumbdrop.manifests().values() if source_path(manifest) == name]

    def standing(self, name: str, inbox: Path | None = None) -> list[str]:
        """The files in the inbox that have to do with a photo, temporary ones too."""
        stem = Path(name).stem
        found = [file for file in files_below(inbox or self.inbox) if stem in file.name]
        return [str(file.relative_to(inbox or self.inbox)) for file in found]

    def wait_done(self, names: list[str], inbox: Path | None = None, seconds: float = 20.0) -> None:
        """Wait until these photos are done, and look whether each was done once and whole."""
        for name in names:
            is_done = lambda name=name: self.manifests_of(name) and not self.standing(name, inbox)  # noqa: E731
            wait_until(is_done, f"{name} is done; there is {self.standing(name, inbox)}", seconds, every=0.05)
            (manifest,) = self.manifests_of(name)
            assert path_in(self.thumbdrop.library, manifest, "original").read_bytes() == self.dropped[name]

    def why(self, name: str, inbox: Path | None = None) -> dict[str, Any]:
        """The story of a photo."""
        story: dict[str, Any] = self.thumbdrop.command("why", str((inbox or self.inbox) / name), "--json").json
        return story

    def wait_told(self, name: str, inbox: Path | None = None, **facts: str) -> dict[str, Any]:
        """Wait until its story has these facts."""
        told: list[dict[str, Any]] = []

        def has_them() -> bool:
            told.append(self.why(name, inbox))
            return facts.items() <= told[-1].items()

        wait_until(has_them, f"{name} is told as {facts}, not as {told[-1:]}", 20)
        return told[-1]

    def assert_untouched(self, name: str, content: bytes, inbox: Path | None = None) -> None:
        """Assert that nothing came of a photo yet, and that what was uploaded of it stands there."""
        assert self.manifests_of(name) == []
        assert ((inbox or self.inbox) / name).read_bytes() == content

    @contextmanager
    def interrupted(self, words: list[str | Path], stdin: str = "", at: int = 120_000) -> Iterator[Path]:
        """Start a client and stop it when so many bytes are there; it is killed at the end, with all that it started.

        Gives the file that it writes to. The kill is as when its machine dies: nobody says goodbye.
        """
        before = set(files_below(self.inbox))
        client = subprocess.Popen(
            [str(word) for word in words],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=self.client,
            env=self.environ,
            start_new_session=True,
            preexec_fn=die_with_pytest,
        )
        assert client.stdin
        try:
            client.stdin.write(stdin.encode())
            client.stdin.flush()

            def growing() -> list[Path]:
                assert client.poll() is None, f"{words} ended before it could be interrupted"
                return [file for file in set(files_below(self.inbox)) - before if _size(file) >= at]

            (file,) = wait_until(growing, f"{words} is in the middle of its upload", 20)
            os.killpg(client.pid, signal.SIGSTOP)
            yield file
        finally:
            os.killpg(client.pid, signal.SIGKILL)
            client.wait()
            client.stdin.close()


def _lines(lines: tuple[str, ...]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0


@pytest.fixture(scope="module")
def site(installed_program: Path) -> Iterator[Site]:
    for program in ("lftp", "curl", "rclone", "rsync", "scp", "unzip"):
        need(program)
    with sftp_servers(_ALIVE_SECONDS) as server, thumbdrops(installed_program, server.folder) as make:
        thumbdrop = make(None)
        patient = server.make_folder("patient")
        thumbdrop.configure(TWO_INBOXES.format(inbox=server.inbox, patient=patient))
        client = server.folder / "client-side"
        client.mkdir()
        with rsync_daemon(server) as url:
            thumbdrop.start("up", "--workers", "2")
            yield Site(thumbdrop, server, url, client, patient)


@contextmanager
def rsync_daemon(server: SftpServer) -> Iterator[str]:
    (port,) = free_ports(1)
    group = subprocess.run(["id", "-gn", USER], capture_output=True, text=True, check=True).stdout.strip()
    facts = {"port": port, "user": USER, "group": group, "folder": server.folder, "inbox": server.inbox}
    config = server.folder / "rsyncd.conf"
    config.write_text(_RSYNCD_CONF.format(**facts))
    daemon = subprocess.Popen(
        ["rsync", "--daemon", "--no-detach", f"--config={config}"],
        stdin=subprocess.DEVNULL,
        preexec_fn=die_with_pytest,
    )
    url = f"rsync://127.0.0.1:{port}/inbox/"
    try:
        listing = ["rsync", url]
        wait_until(
            lambda: subprocess.run(listing, capture_output=True, check=False).returncode == 0,
            "rsync answers",
            every=0.1,
        )
        yield url
    finally:
        daemon.kill()
        daemon.wait()


# -- uploads of one file that go well; each is given the site and the file


def _rename_after(site: Site, file: Path, command: str) -> None:
    """Upload under a temporary name, then rename; the `.filepart` of WinSCP comes with an old mtime, too."""
    site.sftp(f"put -p {file} {file.name}.filepart", f"{command} {file.name}.filepart {file.name}")


def _rename_by_curl(site: Site, file: Path) -> None:
    temporary = f"{file.name}.tmp"
    rename = f"-rename /inbox/{temporary} /inbox/{file.name}"
    site.run(*site.curl_words("-T", str(file), "-Q", rename, site.url(temporary)))


def _move_from_another_file_system(site: Site, file: Path) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        there = shutil.copy2(file, folder)
        site.run("mv", there, site.inbox / file.name)


def _link(site: Site, file: Path) -> None:
    site.run("ln", file, site.inbox / file.name)


ONE_FILE: dict[str, Callable[[Site, Path], None]] = {
    "sftp put": lambda s, f: s.sftp(f"put {f}"),
    "sftp put -p": lambda s, f: s.sftp(f"put -p {f}"),
    "sftp put, then chmod": lambda s, f: s.sftp(f"put {f}", f"chmod 600 {f.name}"),
    "sftp put, then rename": lambda s, f: _rename_after(s, f, "rename"),
    "sftp put, then rename by link and unlink": lambda s, f: _rename_after(s, f, "rename -l"),
    "scp": lambda s, f: s.scp(f),
    "scp -p": lambda s, f: s.scp("-p", f),
    "scp -O": lambda s, f: s.scp_of_old(f),
    "scp -O -p": lambda s, f: s.scp_of_old("-p", f),
    "rsync": lambda s, f: s.rsync(f),
    "rsync -a": lambda s, f: s.rsync("-a", f),
    "rsync -a --inplace": lambda s, f: s.rsync("-a", "--inplace", f),
    "rsync -a --partial": lambda s, f: s.rsync("-a", "--partial", f),
    "rsync -a --delay-updates": lambda s, f: s.rsync("-a", "--delay-updates", f),
    "rsync -a --inplace --preallocate": lambda s, f: s.rsync("-a", "--inplace", "--preallocate", f),
    "lftp put": lambda s, f: s.lftp(f"put {f}"),
    "lftp put with a temporary name": lambda s, f: s.lftp("set xfer:use-temp-file yes", f"put {f}"),
    "lftp put, then mv": lambda s, f: s.lftp(f"put {f} -o {f.name}.tmp", f"mv {f.name}.tmp {f.name}"),
    "curl -T": lambda s, f: s.run(*s.curl_words("-T", str(f), s.url(f.name))),
    "curl -T, then rename": _rename_by_curl,
    "rclone copy": lambda s, f: s.run(*s.rclone_words("copy", str(f), ":sftp:/inbox/")),
    "rclone moveto": lambda s, f: s.run(*s.rclone_words("moveto", str(shutil.copy2(f, f"{f}.own")), f":sftp:/inbox/{f.name}")),
    "cp": lambda s, f: s.run("cp", f, s.inbox),
    "cp -p": lambda s, f: s.run("cp", "-p", f, s.inbox),
    "mv on one file system": lambda s, f: s.run("mv", shutil.copy2(f, f"{f}.own"), s.inbox / f.name),
    "mv from another file system": _move_from_another_file_system,
    "ln": _link,
    "install": lambda s, f: s.run("install", "-m", "640", f, s.inbox),
    "dd": lambda s, f: s.run("dd", "bs=10k", f"if={f}", f"of={s.inbox}/{f.name}"),
    "curl -T to a file": lambda s, f: s.run("curl", "-sS", "-T", str(f), f"file://{s.inbox}/{f.name}"),
}  # fmt: skip


@pytest.mark.parametrize("how", ONE_FILE)
def test_a_photo_is_done_once_and_whole_and_its_client_sees_no_error(site: Site, how: str) -> None:
    file = site.photo(f"{_slug(how)}.jpg")
    names = site.expect(file)
    ONE_FILE[how](site, file)
    site.wait_done(names)


def _slug(text: str) -> str:
    return "-".join("".join(letter if letter.isalnum() else " " for letter in text).split())


# -- whole trees


def _unpack(site: Site, tree: Path, pack: list[str], unpack: list[str]) -> None:
    site.run(*pack, tree.name)
    site.run(*unpack)


def _zip(site: Site, tree: Path) -> None:
    archive = site.client / f"{tree.name}.zip"
    site.run(sys.executable, "-m", "zipfile", "-c", archive, tree.name)
    site.run("unzip", "-q", archive, "-d", site.inbox)


def _tar(site: Site, tree: Path, *options: str) -> None:
    archive = site.client / f"{tree.name}.tar"
    site.run("tar", "-cf", archive, tree.name)
    site.run("tar", "-C", site.inbox, *options, "-xf", archive)


TREES: dict[str, Callable[[Site, Path], None]] = {
    "cp -r": lambda s, t: s.run("cp", "-r", t, s.inbox),
    "cp -a": lambda s, t: s.run("cp", "-a", t, s.inbox),
    "mv": lambda s, t: s.run("mv", shutil.copytree(t, f"{t}.own"), s.inbox / t.name),
    "tar x": _tar,
    "tar x --touch": lambda s, t: _tar(s, t, "--touch"),
    "unzip": _zip,
    "sftp put -R": lambda s, t: s.sftp(f"put -R {t}"),
    "scp -r": lambda s, t: s.scp("-r", t),
    "rsync -a tree": lambda s, t: s.rsync("-a", t),
    "rsync -a --delay-updates tree": lambda s, t: s.rsync("-a", "--delay-updates", t),
    "lftp mirror -R": lambda s, t: s.lftp(f"mirror -R {t} {t.name}"),
    "rclone copy tree": lambda s, t: s.run(*s.rclone_words("copy", str(t), f":sftp:/inbox/{t.name}")),
}


@pytest.mark.parametrize("how", TREES)
def test_every_photo_of_a_tree_is_done_once_and_whole_and_its_client_sees_no_error(site: Site, how: str) -> None:
    tree = f"tree-{_slug(how)}"
    files = [site.photo(f"{tree}/{folder}/{tree}-{n}.jpg") for n, folder in enumerate((".", ".", "a", "a/b", "c/d/e"))]
    names = site.expect(*files)
    TREES[how](site, site.client / tree)
    site.wait_done(names)


# -- uploads that are cut off and resumed


@dataclass(frozen=True)
class Cut:
    """How a client starts, slowly, and how it goes on later; `leaves` what is cut off under the file's own name."""

    start: Callable[[Site, Path], list[str | Path]]
    resume: Callable[[Site, Path], None]
    leaves: bool = True
    stdin: Callable[[Path], str] = lambda _: ""


def _sftp_slowly(site: Site, _: Path) -> list[str | Path]:
    return ["sftp", "-q", "-l", str(_RATE_KB * 8), "-F", site.server.ssh_config, f"{HOST}:/inbox"]


_RSYNC_SLOWLY = ("rsync", f"--bwlimit={_RATE_KB}")
_LFTP_SLOWLY = f"set net:limit-rate {_RATE_KB}000"

CUT: dict[str, Cut] = {
    "sftp put, then reput": Cut(
        _sftp_slowly,
        lambda s, f: s.sftp(f"reput {f}"),
        stdin=lambda f: f"put {f}\n",
    ),
    "scp, then again": Cut(
        lambda s, f: ["scp", "-q", "-l", str(_RATE_KB * 8), "-F", s.server.ssh_config, f, f"{HOST}:/inbox/"],
        lambda s, f: s.scp(f),
    ),
    "rsync, then again": Cut(
        lambda s, f: [*_RSYNC_SLOWLY, "-a", f, s.rsync_url], lambda s, f: s.rsync("-a", f), leaves=False
    ),
    "rsync --partial, then again": Cut(
        lambda s, f: [*_RSYNC_SLOWLY, "-a", "--partial", f, s.rsync_url], lambda s, f: s.rsync("-a", "--partial", f)
    ),
    "rsync --inplace, then --append-verify": Cut(
        lambda s, f: [*_RSYNC_SLOWLY, "-a", "--inplace", f, s.rsync_url],
        lambda s, f: s.rsync("-a", "--append-verify", f),
    ),
    "rsync --delay-updates, then again": Cut(
        lambda s, f: [*_RSYNC_SLOWLY, "-a", "--delay-updates", f, s.rsync_url],
        lambda s, f: s.rsync("-a", "--delay-updates", f),
        leaves=False,
    ),
    "a .filepart, then reput and rename": Cut(
        _sftp_slowly,
        lambda s, f: s.sftp(f"reput {f} {f.name}.filepart", f"rename -l {f.name}.filepart {f.name}"),
        leaves=False,
        stdin=lambda f: f"put {f} {f.name}.filepart\n",
    ),
    "lftp put, then put -c": Cut(
        lambda s, f: list(s.lftp_words(_LFTP_SLOWLY, f"put {f}")), lambda s, f: s.lftp(f"put -c {f}")
    ),
    "curl -T, then -C -": Cut(
        lambda s, f: list(s.curl_words("--limit-rate", f"{_RATE_KB}k", "-T", str(f), s.url(f.name))),
        lambda s, f: s.run(*s.curl_words("-C", "-", "-T", str(f), s.url(f.name))),
    ),
    "rclone copy, then again": Cut(
        lambda s, f: list(
            s.rclone_words("--bwlimit", f"{_RATE_KB}k", "--buffer-size", "0", "copy", str(f), ":sftp:/inbox/")
        ),
        lambda s, f: s.run(*s.rclone_words("copy", str(f), ":sftp:/inbox/")),
    ),
}


@pytest.mark.parametrize("how", CUT)
def test_a_photo_that_was_cut_off_waits_under_its_own_name_until_its_client_resumes(site: Site, how: str) -> None:
    cut = CUT[how]
    file = site.large_photo(f"cut-{_slug(how)}.jpg")
    (name,) = site.expect(file)
    with site.interrupted(cut.start(site, file), cut.stdin(file)):
        pass
    if cut.leaves:
        story = site.wait_told(name, state="retrying", reason="truncated")
        assert story["not_before"] > time.time()
        site.assert_untouched(name, file.read_bytes()[: _size(site.inbox / name)])
        assert _size(site.inbox / name) < file.stat().st_size
    else:
        wait_until(lambda: name not in site.standing(name), "nothing has that name", SETTLE_SECONDS)
        assert site.manifests_of(name) == []
    cut.resume(site, file)
    site.wait_done([name])


def test_a_client_on_a_dead_link_counts_as_writing_until_the_server_gives_it_up_and_may_then_resume(site: Site) -> None:
    file = site.large_photo("dead-link.jpg")
    (name,) = site.expect(file)
    with site.interrupted(_sftp_slowly(site, file), f"put {file}\n"):
        site.wait_told(name, state="settling", settle_why="writer")
        assert site.manifests_of(name) == []
        # The server asks after one second, and gives up after the third that was not answered.
        site.wait_told(name, state="retrying", reason="truncated")
    site.assert_untouched(name, file.read_bytes()[: _size(site.inbox / name)])
    site.sftp(f"reput {file}")
    site.wait_done([name])


# -- writers that take their time


def test_a_writer_that_stalls_for_longer_than_settle_is_waited_for(site: Site) -> None:
    file = site.photo("stalls.jpg")
    (name,) = site.expect(file)
    content = file.read_bytes()
    with (site.inbox / name).open("wb") as upload:
        for part in (content[:5000], content[5000:9000]):
            upload.write(part)
            upload.flush()
            time.sleep(3 * SETTLE_SECONDS)
            assert site.why(name)["settle_why"] == "writer"
        site.assert_untouched(name, content[:9000])
        upload.write(content[9000:])
    site.wait_done([name])
    assert site.why(name)["state"] == "done"


def test_a_writer_that_closes_in_every_pause_is_waited_for(site: Site) -> None:
    """An NFSv3 server does that for its clients, and so does whoever appends piece by piece."""
    file = site.photo("pauses.jpg")
    (name,) = site.expect(file)
    content = file.read_bytes()
    for start, end in ((0, 5000), (5000, 9000)):
        with (site.inbox / name).open("ab") as upload:
            upload.write(content[start:end])
        site.wait_told(name, state="retrying", reason="truncated")
        site.assert_untouched(name, content[:end])
    with (site.inbox / name).open("ab") as upload:
        upload.write(content[9000:])
    site.wait_done([name])


@pytest.mark.parametrize("stays_open", [True, False], ids=["and stays", "and comes back"])
def test_a_writer_that_sets_the_full_size_first_and_fills_it_in_later_is_waited_for(
    site: Site, stays_open: bool
) -> None:
    """A Windows client over SMB does that, and `rsync --preallocate`."""
    file = site.photo(f"size-first-{stays_open}.jpg")
    (name,) = site.expect(file)
    content = file.read_bytes()
    half = content[:5000].ljust(len(content), b"\0")
    upload: IO[bytes] = (site.inbox / name).open("wb")
    upload.truncate(len(content))
    upload.write(content[:5000])
    if stays_open:
        upload.flush()
        time.sleep(3 * SETTLE_SECONDS)
        assert site.why(name)["settle_why"] == "writer"
    else:
        upload.close()
        site.wait_told(name, state="retrying", reason="truncated")
        upload = (site.inbox / name).open("r+b")
        upload.seek(5000)
    site.assert_untouched(name, half)
    upload.write(content[5000:])
    upload.close()
    site.wait_done([name])
    assert site.why(name)["state"] == "done"


def test_a_writer_by_a_memory_map_is_waited_for(site: Site) -> None:
    """No event tells of its stores, and it may close the file before it makes them."""
    file = site.photo("mapped.jpg")
    (name,) = site.expect(file)
    program = """\
        import mmap, sys
        content = open(sys.argv[1], "rb").read()
        with open(sys.argv[2], "w+b") as file:
            file.truncate(len(content))
            there = mmap.mmap(file.fileno(), len(content))
        print("mapped", flush=True)
        sys.stdin.read()
        there[:] = content
        there.close()
        """
    writer = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program), file, site.inbox / name],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        preexec_fn=die_with_pytest,
    )
    with writer:
        assert writer.stdout
        assert writer.stdout.readline() == b"mapped\n"
        time.sleep(3 * SETTLE_SECONDS)
        assert site.why(name)["settle_why"] == "writer"
        site.assert_untouched(name, bytes(file.stat().st_size))
        writer.communicate()
    site.wait_done([name])


def test_a_client_that_sets_mode_and_time_a_second_after_the_close_still_finds_its_file(site: Site) -> None:
    """SFTP clients do that by path, so with the settle time that people get the file has to stand for a while."""
    file = site.photo("late-chmod.jpg")
    (name,) = site.expect(file)
    words = ["sftp", "-q", "-b", "-", "-F", str(site.server.ssh_config), f"{HOST}:/patient"]
    client = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert client.stdin
    for line in (f"put -p {file}", f"chmod 600 {name}", f"chmod 640 {name}"):
        client.stdin.write(f"{line}\n".encode())
        client.stdin.flush()
        wait_until(lambda: _size(site.patient / name) == file.stat().st_size, f"{line} was done", 10)
        time.sleep(1)  # that is how slow this client is
    said, _ = client.communicate(b"ls -l\n")
    assert client.returncode == 0, said
    site.wait_done([name], site.patient)


# -- in the end


def test_nothing_else_ever_came_into_the_library_and_nothing_was_done_twice(site: Site) -> None:
    """Runs last. A part of a photo in the archive, or a thumbnail of one, would stand there still."""
    assert_complete(site.thumbdrop, site.dropped)
    told = site.thumbdrop.command("status", "--json").json
    assert told["counts"].get("done", 0) == len(site.dropped)
    assert "duplicate" not in told["counts"]
    assert told["problems"] == []
