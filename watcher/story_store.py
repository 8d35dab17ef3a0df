"""What Redis remembers of one file, for `thumbdrop why`: lease, retry record, last outcome, pause."""

import json
from dataclasses import dataclass, replace
from typing import Any

from config.settings import Settings
from config.urls import connect, results_url
from tasks.errors import Reason
from tasks.leases import PUBLISHED_SECONDS, WORKING_MARGIN_SECONDS, Leases, Record
from tasks.messages import Arrival
from tasks.results import result_key
from watcher.story_facts import Facts

_STORE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class _Lease:
    state: str
    age_seconds: float


def add_from_store(settings: Settings, facts: Facts, arrival: Arrival | None) -> Facts:
    """Add what Redis remembers. Raises RedisError."""
    with connect(results_url(settings), _STORE_SECONDS) as redis:
        leases = Leases(redis, settings.limits.task_time_seconds)
        reports = leases.reports([facts.inbox])
        report = reports.get(facts.inbox, {})
        if not report.get("online", True):  # the watcher knows what the root was before, we see only what it is now
            facts = replace(facts, offline_why=facts.offline_why or str(report.get("offline_why") or "offline"))
        facts = replace(
            facts, has_watcher=facts.inbox in reports, paused=leases.paused(), store_refusal=leases.refusal()
        )
        if arrival is None:
            return facts
        record, lease = leases.record(arrival), _lease(settings, leases, arrival)
        return replace(
            facts,
            now=leases.now_ms() / 1000,
            lease=lease.state,
            lease_age_seconds=lease.age_seconds,
            is_kept=facts.is_kept or leases.is_kept(arrival),
            reason=record.reason,
            message=record.message,
            tries=record.tries,
            attempts=record.attempts,
            first_at=record.first_at,
            not_before=record.not_before,
            gives_up_at=_gives_up_at(settings, record),
            last_outcome=_last_outcome(leases, arrival),
        )


def _gives_up_at(settings: Settings, record: Record) -> float | None:
    if record.reason != Reason.TRUNCATED or record.first_at is None:
        return None
    return record.first_at + settings.limits.truncated_grace_seconds


def _lease(settings: Settings, leases: Leases, arrival: Arrival) -> _Lease:
    (state,) = leases.states([arrival.id])
    whole = PUBLISHED_SECONDS if state == "published" else settings.limits.task_time_seconds + WORKING_MARGIN_SECONDS
    return _Lease(state, max(0.0, whole - leases.lease_seconds(arrival)))


def _last_outcome(leases: Leases, arrival: Arrival) -> dict[str, Any] | None:
    """Read what the result store has under the arrival id, the task id."""
    text = leases.redis.get(result_key(arrival.id))
    return None if text is None else dict(json.loads(text))
