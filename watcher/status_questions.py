"""The questions that `thumbdrop status` asks: of the result store, the broker, the workers and the quarantine.

What a reader would get wrong: each may fail or hang; watcher/asking.py bounds them, and nothing here decides what is wrong.
"""

from dataclasses import dataclass
from typing import Any

from config.settings import Settings
from config.urls import connect, results_url
from tasks.app import make_publisher
from tasks.leases import Leases, Record
from tasks.quarantine import Quarantine

_STORE_SECONDS = 2.0
_WORKER_REPLY_SECONDS = 1.0
_BROKER_SECONDS = 2


@dataclass(frozen=True, slots=True)
class StoreFacts:
    """What the result store holds about all inboxes, read in one visit."""

    reports: dict[str, dict[str, Any]]
    flights: dict[str, dict[str, str]]
    records: dict[str, list[Record]]  # those that are tried next
    put_off: dict[str, int]  # how many there are altogether
    counts: dict[str, int]
    paused: dict[str, str] | None
    beat: dict[str, float]
    refusal: str = ""  # why the store takes nothing, although it answers


def read_store(settings: Settings) -> StoreFacts:
    """Read everything from the result store. Raises RedisError."""
    names = [inbox.name for inbox in settings.inbox]
    with connect(results_url(settings), _STORE_SECONDS) as redis:
        leases = Leases(redis, settings.limits.task_time_seconds)
        return StoreFacts(
            reports=leases.reports(names),
            flights={name: leases.in_flight(name) for name in names},
            records={name: leases.waiting(name) for name in names},
            put_off={name: leases.count_waiting(name) for name in names},
            counts=leases.counts(),
            paused=leases.paused(),
            beat=leases.jobs(),
            refusal=leases.refusal(),
        )


def reach_broker(settings: Settings) -> None:
    """Connect to the broker and log in. Raises what kombu raises."""
    with make_publisher(settings).connection_for_write() as connection:
        connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0, timeout=_BROKER_SECONDS)


def ping_workers(settings: Settings) -> list[str]:
    """Ask through the broker which workers are alive; their names."""
    reach_broker(settings)  # fails at once where the question below would try for long
    replies = make_publisher(settings).control.ping(timeout=_WORKER_REPLY_SECONDS) or []
    return [name for reply in replies for name in reply]


def count_quarantined(settings: Settings) -> int:
    """Count the files in quarantine."""
    return sum(1 for _ in Quarantine(settings).entries())
