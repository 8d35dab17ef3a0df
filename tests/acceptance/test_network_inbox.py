"""An inbox on a network file system: an sshfs mount of a real SFTP server, written to on the server's side.

The server dies, the mount is lost, hangs so that not even SIGKILL ends who touches it, and comes back. What a reader would
get wrong: sshfs and the kernel answer from caches for a while, so settle here is longer than those caches live.
"""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from images import image_bytes
from needs import missing, need
from running import SETTINGS, MakeThumbdrop, Thumbdrop, assert_complete, source_path
from servers import RedisServer, die_with_pytest
from sftp import HOST, USER, SftpServer
from waiting import wait_until

pytestmark = [pytest.mark.faults]

_CACHE_SECONDS = 1
NETWORK_AND_LOCAL = (
    f"""\
[[inbox]]
path = "remote"
settle = "{_CACHE_SECONDS + 2}s"

"""
    + SETTINGS
    + """
[limits]
task_time = "15s"
"""
)
_SILENCE_SECONDS = 5  # a third of the task time: so long a network file system may say nothing
SHARED = """\
[[inbox]]
path = "{inbox}"
name = "shared"
settle = "{settle}"
[library]
path = "{library}"
min_free = "1MB"
[thumbnails]
sizes = ["320x320", "96x96"]
[broker]
url = "{broker}"
[results]
url = "{results}"
[watcher]
rescan = "2s"
"""


class Far:
    """A Thumbdrop with the inboxes `remote`, which is mounted from the server, and `inbox`, which is local."""

    def __init__(self, thumbdrop: Thumbdrop, server: SftpServer) -> None:
        self.thumbdrop = thumbdrop
        self.server = server
        self.point = thumbdrop.folder / "remote"
        self.dropped: dict[str, bytes] = {}

    def put(self, name: str, content: bytes) -> None:
        """Let a photo appear on the server, whole."""
        hidden = self.server.root / f"on-its-way-{name}"
        hidden.write_bytes(content)
        hidden.rename(self.server.inbox / name)
        self.dropped[name] = content

    def drop(self, name: str, content: bytes) -> None:
        """Drop a photo into the local inbox."""
        self.thumbdrop.drop(name, content)
        self.dropped[name] = content

    def done(self, beginning: str = "") -> set[str]:
        """The photos that are done."""
        found = map(source_path, self.thumbdrop.manifests().values())
        return {name for name in found if name.startswith(beginning)}

    def wait_done(self, *names: str, seconds: float = 30.0) -> None:
        """Wait until these photos are done."""
        wait_until(lambda: set(names) <= self.done(), f"{names} are done, not only {self.done()}", seconds, every=0.1)

    def wait_all_done(self, seconds: float = 60.0) -> None:
        """Wait until all that was dropped is done and gone, and look at every file of the library."""
        self.wait_done(*self.dropped, seconds=seconds)
        wait_until(lambda: not os.listdir(self.server.inbox), f"gone from {self.server.inbox}", 20)
        self.thumbdrop.wait_done(len(self.dropped))
        assert_complete(self.thumbdrop, self.dropped)

    def status(self) -> dict[str, Any]:
        """What `status` says of the inbox `remote`, with all problems."""
        told = self.thumbdrop.command("status", "--json", seconds=15).json
        (remote,) = (inbox for inbox in told["inboxes"] if inbox["name"] == "remote")
        return {**remote, "problems": told["problems"]}

    def wait_status(self, holds: Callable[[dict[str, Any]], bool], seconds: float = 20.0) -> dict[str, Any]:
        """Wait until `status` says so."""
        told: list[dict[str, Any]] = []

        def is_so() -> bool:
            told.append(self.status())
            return holds(told[-1])

        wait_until(is_so, f"another status than {told[-1:]}", seconds, every=0.2)
        return told[-1]

    def why(self, name: str) -> dict[str, Any]:
        """The story of a photo in the inbox `remote`."""
        story: dict[str, Any] = self.thumbdrop.command("why", f"remote/{name}", "--json", seconds=15).json
        return story


@pytest.fixture
def far(make_thumbdrop: MakeThumbdrop, sftp_server: SftpServer) -> Iterator[Far]:
    thumbdrop = make_thumbdrop(NETWORK_AND_LOCAL)
    far = Far(thumbdrop, sftp_server)
    with mounted(sftp_server, far.point):
        yield far
        thumbdrop.kill_everything()


@contextmanager
def mounted(server: SftpServer, point: Path) -> Iterator[None]:
    """Mount the server's inbox; whatever is mounted there at the end goes."""
    if not os.path.exists("/dev/fuse"):
        missing("there is no /dev/fuse")
    mount(server, point)
    try:
        yield
    finally:
        unmount(point)


def mount(server: SftpServer, point: Path) -> None:
    """Mount it with sshfs's own behaviour, but for the length of its cache."""
    need("fusermount3")
    point.mkdir(exist_ok=True)
    cache = f"dcache_timeout={_CACHE_SECONDS}"
    words = [need("sshfs"), "-F", server.ssh_config, "-o", cache, f"{HOST}:/inbox", point]
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False, timeout=20)
    assert done.returncode == 0, done.stderr


def unmount(point: Path) -> None:
    """Take away what is mounted there, even if it hangs or is dead."""
    while is_mounted(point):
        subprocess.run(["fusermount3", "-u", "-z", point], check=True, timeout=10)


def is_mounted(point: Path) -> bool:
    """Whether anything is; asked of the kernel's list, for a look at the mount may fail or hang."""
    return any(line.split()[4] == str(point) for line in Path("/proc/self/mountinfo").read_text().splitlines())


def kill_sshfs(point: Path) -> None:
    """Kill the process that serves a mount; the mount stays and answers ENOTCONN."""
    for name in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError):
            words = Path(f"/proc/{name}/cmdline").read_bytes().split(b"\0")
            if words[0].endswith(b"sshfs") and os.fsencode(point) in words:
                os.kill(int(name), signal.SIGKILL)


def photo(number: int, width: int = 320, height: int = 240) -> bytes:
    content = image_bytes("jpeg", width, height)
    return content[:2] + b"\xff\xfe\x00\x06%04d" % number + content[2:]  # ITU-T T.81, B.2.4.5: no two are alike


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("loss", ["the server dies", "the mount's process dies"])
def test_a_network_inbox_is_polled_goes_offline_with_its_server_and_goes_on_when_it_is_back(
    far: Far, loss: str
) -> None:
    thumbdrop, server = far.thumbdrop, far.server
    thumbdrop.start("up", "--workers", "2")
    told = far.wait_status(lambda told: told["state"] == "watching")
    assert (told["backend"], told["watches"]) == ("poll", 0)
    assert "fuse.sshfs" in told["why"]
    assert told["problems"] == []

    far.put("r1.jpg", photo(1))
    cut = server.inbox / "r2.jpg"
    cut.write_bytes(photo(2)[:4000])
    far.wait_done("r1.jpg")
    wait_until(lambda: far.why("r2.jpg").get("reason") == "truncated", "the cut photo is told so", 20)

    if loss == "the server dies":
        server.kill()  # sshfs ends, and leaves an empty local directory behind
        wait_until(lambda: not is_mounted(far.point), "the mount is lost")
        assert os.listdir(far.point) == []
    else:
        kill_sshfs(far.point)
    told = far.wait_status(lambda told: told["state"] == "offline")
    assert told["problems"] == [f"inbox remote: {told['offline_why']}"]
    assert ("no longer mounted" if loss == "the server dies" else "not connected") in told["offline_why"]
    # The cut one is not taken for deleted, though nobody sees it now.
    assert [(group["reason"], group["count"]) for group in told["put_off"]] == [("truncated", 1)]
    assert far.why("r2.jpg")["state"] == "offline"
    far.drop("local.jpg", photo(3))
    far.wait_done("local.jpg")
    if loss == "the server dies":
        (far.point / "stray.jpg").write_bytes(photo(9))
        time.sleep(_CACHE_SECONDS + 3)  # longer than settle and several looks
        assert os.listdir(far.point) == ["stray.jpg"], "nothing is taken from there, and nothing is written there"
        (far.point / "stray.jpg").unlink()
        server.start()
    unmount(far.point)

    far.put("r4.jpg", photo(4))
    cut.write_bytes(photo(2))
    far.dropped["r2.jpg"] = photo(2)
    mount(server, far.point)
    far.wait_all_done()
    assert far.wait_status(lambda told: not told["problems"])["state"] == "watching"
    assert far.why("r2.jpg")["state"] == "done"
    assert thumbdrop.stop() == [0]


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_network_inbox_that_hangs_holds_up_no_other_inbox_no_worker_and_no_command(far: Far) -> None:
    thumbdrop = far.thumbdrop
    up = thumbdrop.start("up", "--workers", "2")
    for number in range(12):
        far.put(f"r{number}.jpg", photo(number, 3000, 2200))
    wait_until(lambda: far.done("r"), "the first one is done", 60)
    with far.server.hanging():
        done_before = far.done("r")
        assert len(done_before) < 10, "it was too quick for the test to come between"
        for number in range(3):
            far.drop(f"local{number}.jpg", photo(100 + number))
        check = thumbdrop.start("check", "--json", until=())
        # Both workers may be at photos of the hanging inbox.
        far.wait_done("local0.jpg", "local1.jpg", "local2.jpg", seconds=_SILENCE_SECONDS + 10)
        told = far.wait_status(lambda told: told["state"] == "offline", _SILENCE_SECONDS + 15)
        assert "does not answer" in told["offline_why"]
        assert told["problems"] == [f"inbox remote: {told['offline_why']}"]
        assert far.why("r11.jpg")["state"] == "offline"
        far.drop("late.jpg", photo(200))
        far.wait_done("late.jpg", seconds=5)
        # At most what the workers had read in full by then was still finished.
        assert len(far.done("r") - done_before) <= 2
        told = far.status()
        assert (told["published"], told["working"]) == (0, 0)
        assert check.wait(20) == 1
        assert '"inbox remote: no answer within' in check.text
        assert "image.attempt_lost" not in up.text, "the limit of a task is for decoders"
        assert thumbdrop.stop() == [0]
        thumbdrop.start("up", "--workers", "2", until=("worker.ready",))
        far.drop("after-start.jpg", photo(201))
        far.wait_done("after-start.jpg", seconds=10)
    far.wait_all_done(90)
    assert far.wait_status(lambda told: not told["problems"] and not told["put_off"])["state"] == "watching"


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("watcher", ["local", "mounted"])
def test_two_hosts_that_see_other_inodes_and_times_finish_every_file_between_them(
    make_thumbdrop: MakeThumbdrop, sftp_server: SftpServer, redis_server: RedisServer, watcher: str
) -> None:
    redis_server.flush()
    hosts = {"local": make_thumbdrop(None), "mounted": make_thumbdrop(None)}
    point = hosts["mounted"].folder / "remote"
    library = hosts["local"].library
    library.mkdir()
    content = {f"{number}.jpg": photo(number, 1600, 1200) for number in range(24)}
    servers = {"broker": redis_server.broker_url, "results": redis_server.results_url, "library": library}
    with mounted(sftp_server, point):
        try:
            for name, inbox, settle in (("local", sftp_server.inbox, "1s"), ("mounted", point, "3s")):
                hosts[name].configure(SHARED.format(inbox=inbox, settle=settle, **servers))
                hosts[name].start("worker", "--concurrency", "1")
            for name, photo_bytes in content.items():
                (sftp_server.inbox / name).write_bytes(photo_bytes)
            assert (sftp_server.inbox / "0.jpg").stat().st_mtime_ns != (point / "0.jpg").stat().st_mtime_ns
            hosts[watcher].start("watch")
            local = hosts["local"]
            local.inbox = sftp_server.inbox
            local.wait_done(len(content))
            assert_complete(local, content)
            assert os.listdir(sftp_server.inbox) == [], "hidden ones neither"
            for host in hosts.values():
                done = host.running[0].text.count("image.done")
                assert done > 0, "one host did it all"
            assert _put_off(hosts) == {}, "no file was sent round"
            told = local.command("status", "--json").json
            assert (told["counts"], told["problems"]) == ({"done": len(content)}, [])
            for name, inbox in (("local", sftp_server.inbox), ("mounted", point)):
                said = hosts[name].command("why", str(inbox / "0.jpg"), "--json")
                assert said.json["state"] == "done", "each host knows it by its own path"
        finally:
            for host in hosts.values():
                host.kill_everything()


def _put_off(hosts: dict[str, Thumbdrop]) -> dict[str, int]:
    """How many lines tell of files that were put off, by host."""
    found = {name: host.running[0].text.count("image.put_off") for name, host in hosts.items()}
    return {name: count for name, count in found.items() if count}


def test_an_rclone_mount_is_refused_as_a_library(make_thumbdrop: MakeThumbdrop, sftp_server: SftpServer) -> None:
    """It creates files exclusively over those of others, and has neither hard links nor exclusive renames."""
    if not os.path.exists("/dev/fuse"):
        missing("there is no /dev/fuse")
    thumbdrop = make_thumbdrop()
    thumbdrop.library.mkdir()
    where = ["--sftp-host", "127.0.0.1", "--sftp-port", str(sftp_server.port), "--sftp-user", USER]
    words = [need("rclone"), "mount", ":sftp:/inbox", thumbdrop.library, *where, "--sftp-key-file", sftp_server.key]
    environ = {**os.environ, "RCLONE_CONFIG": str(thumbdrop.folder / "none")}
    rclone = subprocess.Popen(
        [str(word) for word in words], env=environ, stdin=subprocess.DEVNULL, preexec_fn=die_with_pytest
    )
    try:
        wait_until(lambda: is_mounted(thumbdrop.library), "rclone has mounted", 20)
        said = thumbdrop.command("check", "--json")
        assert said.code == 1
        (library,) = (one for one in said.json if one["what"].startswith(f"library {thumbdrop.library}: an rclone"))
        assert library["verdict"] == "failed"
        assert "another file system" in library["remedy"]
    finally:
        unmount(thumbdrop.library)
        rclone.terminate()
        rclone.wait(10)
