"""The faults of the chaos test: what kills, stops, wipes and fills while Thumbdrop works, and brings back what an
operator or systemd would bring back.

Every fault is done from outside, with signals, Redis commands and files. What a reader would get wrong: a fault that
finds no victim (a child that is not there at the moment) waits a little for one, and counts only when it was done.
"""

import heapq
import os
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path

from redis import Redis, RedisError

from chaos_clients import Clients
from chaos_plan import Fault
from chaos_servers import Servers
from running import Running, Thumbdrop

_WORKER_CONCURRENCY = "1"
_VICTIM_SECONDS, _VICTIM_TRIES = 2.3, 15
_GROWN_UP_SECONDS = 2.0  # a worker gives up when a child dies before it has begun: that is another fault
_DEPLOY_SECONDS = 25.0  # after which systemd would kill
_RESTART_SECONDS = 0.5

Undo = Callable[[], None]


def _nothing() -> None:
    """Undo nothing."""


class Crew:
    """The processes: a `thumbdrop up`, and a worker unit of its own beside it; both are kept running."""

    def __init__(self, thumbdrop: Thumbdrop, servers: Servers | None = None) -> None:
        self.thumbdrop = thumbdrop
        self.servers = servers
        self.up = thumbdrop.start("up", "--workers", "1")
        self.worker = self._start_worker()
        self._ended_at: dict[str, float] = {}
        self._deploy_until: float | None = None

    def keep_running(self) -> None:
        """Start again what has ended, half a second later, and kill a worker that does not end when it is asked to."""
        now = time.monotonic()
        if self.servers:
            self.servers.keep_running()
        if self._is_due("up", self.up, now):
            self.up = self.thumbdrop.start("up", "--workers", "1", until=())
        if self._is_due("worker", self.worker, now):
            self.worker, self._deploy_until = self._start_worker(), None
        if self._deploy_until is not None and now > self._deploy_until:
            self.worker.process.kill()

    def deploy_worker(self) -> None:
        """Ask the worker unit to end."""
        self.worker.process.terminate()
        self._deploy_until = time.monotonic() + _DEPLOY_SECONDS

    def stop(self) -> list[int]:
        """End everything in order; the exit codes."""
        return self.thumbdrop.stop(seconds=40)

    def _is_due(self, name: str, running: Running, now: float) -> bool:
        if running.process.poll() is None:
            return False
        if now < self._ended_at.setdefault(name, now) + _RESTART_SECONDS:
            return False
        del self._ended_at[name]
        return True

    def _start_worker(self) -> Running:
        return self.thumbdrop.start("worker", "--concurrency", _WORKER_CONCURRENCY, until=())


@dataclass
class Faults:
    """Injects the faults of a plan; `done` has the Unix time and the kind of each that hit."""

    crew: Crew
    clients: Clients
    library: Path
    disk: Path | None  # the small file system that the library lies on, None when it cannot be filled
    done: list[tuple[float, str]] = field(default_factory=list)
    missed: Counter[str] = field(default_factory=Counter)
    _is_rabbitmq_hit: bool = False
    _agenda: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    _numbers: Iterator[int] = field(default_factory=count)

    def inject_all(self, faults: tuple[Fault, ...], began_at: float) -> None:
        """Do every fault at its time after `began_at` (monotonic), and undo each when its time is over."""
        for fault in faults:
            self._at(began_at + fault.at, partial(self._hit, fault))
        while self._agenda:
            at, _, act = heapq.heappop(self._agenda)
            self._wait_until(at)
            act()

    def _at(self, at: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._agenda, (at, next(self._numbers), act))

    def _wait_until(self, at: float) -> None:
        while True:
            self.crew.keep_running()
            left = at - time.monotonic()
            if left <= 0:
                return
            time.sleep(min(left, 0.1))

    def _hit(self, fault: Fault, tries: int = 1) -> None:
        undo = None
        with suppress(ProcessLookupError, RedisError):
            undo = self._do(fault)
        if undo is not None:
            self.done.append((time.time(), fault.kind))
            self._at(time.monotonic() + fault.seconds, undo)
        elif tries < _VICTIM_TRIES:
            self._at(time.monotonic() + _VICTIM_SECONDS, partial(self._hit, fault, tries + 1))
        else:
            self.missed[fault.kind] += 1

    def _do(self, fault: Fault) -> Undo | None:
        """Do one fault; what undoes it, None when there was no victim."""
        match fault.kind:
            case "clients paused":
                self.clients.pause()
                return self.clients.resume
            case "disk filled":
                return self._fill(fault.choice)
            case "Redis flushed":
                return self._flush()
            case "worker deployed" | "worker killed" | "up killed" | "up restarted":
                return self._end(fault.kind)
            case "RabbitMQ killed" | "RabbitMQ stopped":
                return self._end_or_stop_rabbitmq(fault.kind)
            case _:
                return self._signal(fault)

    def _end_or_stop_rabbitmq(self, kind: str) -> Undo | None:
        if self.crew.servers is None or self._is_rabbitmq_hit:
            return None
        rabbitmq = self.crew.servers.rabbitmq
        self._is_rabbitmq_hit = True
        if kind == "RabbitMQ killed":
            rabbitmq.kill()
            return lambda: self._rabbitmq_is_back(rabbitmq.start_again)
        os.kill(rabbitmq.pid, signal.SIGSTOP)
        return lambda: self._rabbitmq_is_back(lambda: _go_on(rabbitmq.pid))

    def _rabbitmq_is_back(self, bring_back: Undo) -> None:
        bring_back()
        self._is_rabbitmq_hit = False

    def _end(self, kind: str) -> Undo | None:
        """End one of the two programs that are started again from here."""
        running = self.crew.up if kind.startswith("up") else self.crew.worker
        if running.process.poll() is not None:
            return None
        match kind:
            case "worker deployed":
                self.crew.deploy_worker()
            case "worker killed":  # with its children, as a unit is when it is out of memory
                os.killpg(running.process.pid, signal.SIGKILL)
            case "up killed":
                running.process.kill()
            case "up restarted":
                running.process.terminate()
        return _nothing

    @property
    def _redis_data(self) -> Path:
        servers = self.crew.servers
        return servers.redis_data if servers else self.library / ".thumbdrop" / "redis"

    @property
    def _redis_socket(self) -> Path:
        servers = self.crew.servers
        return servers.redis.socket if servers else self.library / ".thumbdrop" / "redis.sock"

    def _flush(self) -> Undo:
        with Redis(unix_socket_path=str(self._redis_socket), socket_timeout=1) as redis:
            redis.flushall()
        return _nothing

    def _signal(self, fault: Fault) -> Undo | None:
        part, _, what = fault.kind.partition(" ")
        role = {"pool": "worker child", "worker": "worker", "Redis": "redis"}.get(part, part)
        found = self.crew.thumbdrop.pids().get(role, [])
        victims = [
            pid for pid in found if pid != self.crew.worker.process.pid and _age_seconds(pid) > _GROWN_UP_SECONDS
        ]
        if not victims:
            return None
        victim = victims[fault.choice % len(victims)]
        if what == "stopped":
            os.kill(victim, signal.SIGSTOP)
            return lambda: _go_on(victim)
        os.kill(victim, signal.SIGKILL)
        if what.endswith("data deleted"):
            shutil.rmtree(self._redis_data, ignore_errors=True)
        return _nothing

    def _fill(self, choice: int) -> Undo | None:
        if self.disk is None:
            return None
        filler = self.disk / f"filler-{choice}"
        room = os.statvfs(self.disk)
        # Wholly, or so that there is room for some files and not for others.
        spare = (0, 8192, 65536)[choice % 3]
        with suppress(OSError), filler.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, max(1, room.f_bavail * room.f_frsize - spare))
        return lambda: filler.unlink(missing_ok=True)


def _age_seconds(pid: int) -> float:
    with suppress(OSError):
        # Its name, in parentheses, may hold anything: proc_pid_stat(5), field 22.
        ticks = int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[19])
        return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    return 0.0


def _go_on(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)
