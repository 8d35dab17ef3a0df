"""What the services cannot do, tried from within their own sandboxes, and what systemd thinks of them."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from images import image_bytes
from installation import SERVICES, WATCHER, WORKERS, Installation
from needs import ROOT

pytestmark = [pytest.mark.timeout(420), pytest.mark.root]

EXAMPLES = ROOT / "systemd/examples"
UNITS = "/lib/systemd/system"
# Runs in the place of a service's program and prints what came of each attempt: "" or the name of the error.
_PROBE = r"""
import ctypes, errno, json, os, socket, sys

def attempt(act):
    try:
        act()
    except OSError as error:
        return errno.errorcode.get(error.errno, type(error).__name__)
    return ""

def write(path):
    return attempt(lambda: os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o644)))

def read(path):
    return attempt(lambda: os.listdir(path) if os.path.isdir(path) else open(path, "rb").read(1))

def connect(host, port):
    def act():
        with socket.socket() as client:
            client.settimeout(2)
            client.connect((host, port))
    return attempt(act)

def unshare():
    if ctypes.CDLL(None, use_errno=True).unshare(0x10000000):
        raise OSError(ctypes.get_errno(), "unshare")

found = {
    "uid": os.getuid(),
    "read": {path: read(path) for path in sys.argv[1].split()},
    "write": {path: write(path + "/probe") for path in sys.argv[2].split()},
    "connect": {at: connect(at.split(":")[0], int(at.split(":")[1])) for at in sys.argv[3].split()},
    "netlink": attempt(lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)),
    "raw": attempt(lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)),
    "unshare": attempt(unshare),
    "setuid": attempt(lambda: os.setuid(0)),
    "chown": attempt(lambda: os.chown("/tmp", 1, 1)),
    "setgid bit": attempt(lambda: os.mkdir("/tmp/setgid", 0o2755) or os.chmod("/tmp/setgid", 0o2755)),
    "exec": attempt(lambda: os.posix_spawn("/srv/thumbdrop/inbox/program", ["program"], {})),
    "processes of others": [pid for pid in os.listdir("/proc") if pid == "1"],
}
print("PROBE", json.dumps(found), flush=True)
"""
READ = "/home/eve/letter /root/.ssh /srv/private/letter /srv/thumbdrop/library /srv/thumbdrop/inbox/photo /etc/shadow"
WRITE = (
    "/srv/thumbdrop/inbox /srv/thumbdrop/library /srv/open /etc /var/lib/thumbdrop /var/lib/redis /opt/thumbdrop"
    " /usr/local /dev/shm /run /tmp"
)
ELSEWHERE = "10.77.0.1:22"  # a machine that is not this one, as far as the rules are concerned
CONNECT = f"127.0.0.1:6379 {ELSEWHERE}"


@pytest.fixture(scope="module")
def surroundings(installation: Installation) -> Installation:
    """Other people's files, an open directory, another address, and the probe itself."""
    machine = installation.machine
    machine.shell(
        """
        id eve 2>/dev/null || useradd --create-home eve
        mkdir -p /srv/private /srv/open
        echo secret > /home/eve/letter; chmod 755 /home/eve; chmod 644 /home/eve/letter
        echo secret > /srv/private/letter; chown -R eve /srv/private; chmod 700 /srv/private
        chmod 1777 /srv/open
        cp /usr/bin/true /srv/thumbdrop/inbox/program; chmod 755 /srv/thumbdrop/inbox/program
        echo x > /srv/thumbdrop/inbox/photo
        ip address replace 10.77.0.1/32 dev lo
        """
    )
    (machine.root / "opt/probe.py").write_text(_PROBE)
    (machine.root / "opt/probe.py").chmod(0o644)
    return installation


def probed(thumbdrop: Installation, unit: str, *drop_ins: Path) -> dict[str, Any]:
    """What a service with everything of `unit` but its program can do."""
    machine = thumbdrop.machine
    own = "thumbdrop-probe.service"
    text = (machine.root / UNITS.lstrip("/") / unit).read_text()
    (machine.root / "etc/systemd/system" / own).write_text(text)
    folder = machine.root / f"etc/systemd/system/{own}.d"
    folder.mkdir(exist_ok=True)
    words = " ".join(f'"{word}"' for word in (READ, WRITE, CONNECT))
    (folder / "90-probe.conf").write_text(
        "[Unit]\nPartOf=\n[Service]\nType=oneshot\nRestart=no\nWatchdogSec=0\nReadOnlyPaths=/opt/probe.py\n"
        f"ExecStart=\nExecStart=/opt/thumbdrop/bin/python /opt/probe.py {words}\n"
    )
    for file in drop_ins:
        (folder / f"50-{file.name}").write_text(file.read_text())
    machine.succeed("systemctl", "daemon-reload")
    since = thumbdrop.now()
    try:
        machine.succeed("systemctl", "start", own)
        said = [one["MESSAGE"] for one in thumbdrop.journal(since, f"_SYSTEMD_UNIT={own}")]
    finally:
        for file in folder.iterdir():
            file.unlink()
        (machine.root / "etc/systemd/system" / own).unlink()
        machine.succeed("systemctl", "daemon-reload")
    (line,) = (line for line in said if line.startswith("PROBE "))
    found: dict[str, Any] = json.loads(line.removeprefix("PROBE "))
    return found


def refused(attempts: dict[str, str]) -> set[str]:
    return {what for what, error in attempts.items() if error}


def test_the_worker_reaches_inboxes_library_and_broker_and_nothing_else(surroundings: Installation) -> None:
    found = probed(surroundings, "thumbdrop-worker@.service")
    assert found["uid"] > 0
    assert refused(found["read"]) == {"/home/eve/letter", "/root/.ssh", "/srv/private/letter", "/etc/shadow"}
    assert set(found["write"]) - refused(found["write"]) == {
        "/srv/thumbdrop/inbox",
        "/srv/thumbdrop/library",
        "/dev/shm",  # its children share semaphores there
        "/tmp",
    }
    assert not (surroundings.machine.root / "tmp/probe").exists()  # it has a /tmp of its own
    assert refused(found["connect"]) == {ELSEWHERE}
    assert_no_way_out(found)


def test_the_watcher_reads_inboxes_writes_nothing_and_does_not_see_the_library(surroundings: Installation) -> None:
    found = probed(surroundings, WATCHER)
    assert set(found["read"]) - refused(found["read"]) == {"/srv/thumbdrop/inbox/photo"}
    assert set(found["write"]) - refused(found["write"]) == {"/dev/shm", "/tmp"}
    assert refused(found["connect"]) == {ELSEWHERE}
    assert_no_way_out(found)


def test_with_a_redis_on_a_unix_socket_no_port_can_be_reached(surroundings: Installation) -> None:
    for unit in ("thumbdrop-worker@.service", WATCHER):
        found = probed(surroundings, unit, EXAMPLES / "local-redis.conf")
        assert refused(found["connect"]) == {"127.0.0.1:6379", ELSEWHERE}, unit


def assert_no_way_out(found: dict[str, Any]) -> None:
    for what in ("netlink", "raw", "unshare", "setuid", "chown", "setgid bit", "exec"):
        assert found[what], what
    assert found["processes of others"] == []


def test_systemd_finds_nothing_wrong_with_the_installed_units(thumbdrop: Installation) -> None:
    installed = thumbdrop.machine.succeed("sh", "-c", f"ls -d {UNITS}/thumbdrop*.*").split()
    units = [unit for unit in installed if not unit.endswith(".d")]
    assert len(units) >= 6
    done = thumbdrop.machine.run("systemd-analyze", "verify", "--man=no", *units)
    assert (done.stdout + done.stderr).decode() == ""


def exposure(thumbdrop: Installation, unit: str) -> float:
    """What systemd-analyze makes of a unit, from 0 (safe) to 10."""
    *_, last = thumbdrop.machine.succeed("systemd-analyze", "security", "--no-pager", unit, codes=(0, 1)).splitlines()
    return float(last.partition(": ")[2].split()[0])


def test_the_services_are_hardly_exposed_as_shipped(thumbdrop: Installation) -> None:
    found = {unit: exposure(thumbdrop, unit) for unit in SERVICES}
    assert max(found.values()) <= 1.2, found


@pytest.fixture
def with_own_redis(thumbdrop: Installation) -> Iterator[Installation]:
    """As the comments of thumbdrop-redis.service and local-redis.conf say, command by command."""
    machine = thumbdrop.machine
    thumbdrop.stop()
    folder = machine.root / "etc/systemd/system/thumbdrop-.service.d"
    folder.mkdir(exist_ok=True)
    (folder / "50-local-redis.conf").write_text((EXAMPLES / "local-redis.conf").read_text())
    thumbdrop.configure(
        thumbdrop.settings.replace(
            "redis://127.0.0.1:6379/0", "redis+socket:///run/thumbdrop/redis.sock?virtual_host=0"
        )
    )
    machine.succeed("systemctl", "daemon-reload")
    machine.succeed("systemctl", "enable", "--now", "thumbdrop-redis")
    thumbdrop.start()
    yield thumbdrop
    thumbdrop.stop()
    machine.succeed("systemctl", "disable", "--now", "thumbdrop-redis")
    (folder / "50-local-redis.conf").unlink()
    thumbdrop.configure(thumbdrop.settings)
    machine.succeed("systemctl", "daemon-reload")
    thumbdrop.start()


def test_with_a_redis_of_its_own_it_works_without_any_network(with_own_redis: Installation) -> None:
    thumbdrop = with_own_redis
    found = {unit: exposure(thumbdrop, unit) for unit in (*SERVICES, "thumbdrop-redis.service")}
    assert max(found.values()) <= 0.5, found
    thumbdrop.upload({"own-redis.jpg": image_bytes(width=470)})
    thumbdrop.wait_done("own-redis.jpg")
    thumbdrop.machine.succeed("systemctl", "kill", "--signal=KILL", "thumbdrop-redis")
    thumbdrop.upload({"own-redis-2.jpg": image_bytes(width=480)})
    thumbdrop.wait_done("own-redis-2.jpg")
    denied = thumbdrop.machine.run(
        "runuser", "-u", "alice", "--", "redis-cli", "-s", "/run/thumbdrop/redis.sock", "ping"
    )
    assert b"PONG" not in denied.stdout


def test_a_password_given_as_a_credential_is_seen_nowhere(thumbdrop: Installation) -> None:
    machine, secret = thumbdrop.machine, "s3cret-of-the-broker"
    thumbdrop.stop()
    store = machine.root / "etc/credstore"
    try:
        store.mkdir(mode=0o700, exist_ok=True)
        (store / "thumbdrop.broker_url").write_text(f"redis://:{secret}@127.0.0.1:6379/0")
        (store / "thumbdrop.broker_url").chmod(0o600)
        machine.succeed("redis-cli", "config", "set", "requirepass", secret)
        thumbdrop.start()
        thumbdrop.upload({"secret.jpg": image_bytes(width=490)})
        thumbdrop.wait_done("secret.jpg")
        seen = [machine.succeed("systemctl", "show", *SERVICES), machine.succeed("ps", "axww", "-o", "args")]
        seen.append(thumbdrop.journal_tail())
        pids = [str(thumbdrop.main_pid(unit)) for unit in SERVICES]
        seen += [machine.succeed("cat", f"/proc/{pid}/environ") for pid in pids]
        assert not any(secret in text for text in seen)
        denied = machine.run("runuser", "-u", "eve", "--", "sh", "-c", f"cat /run/credentials/{WORKERS[0]}/*")
        assert secret.encode() not in denied.stdout
    finally:
        thumbdrop.stop()
        (store / "thumbdrop.broker_url").unlink()
        machine.run("redis-cli", "-a", secret, "config", "set", "requirepass", "")
        thumbdrop.start()
