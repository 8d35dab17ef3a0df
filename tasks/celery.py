"""The worker process, wired: the one place on the worker's side that reads settings. `celery -A tasks` looks here.

`thumbdrop worker` runs the same app. What a reader would get wrong: this module is imported by the worker's main
process, which then forks its children, so connections are made where they are first used and never before a fork.
"""

import logging
import sys
import time
from collections.abc import Callable
from functools import cache
from typing import Any

from billiard.exceptions import TimeLimitExceeded, WorkerLostError
from celery import signals
from celery.worker import state
from celery.worker.request import Request
from kombu.exceptions import KombuError
from redis import RedisError

from config import load, logs
from config.celery import EXPIRE, SWEEP, is_redis
from config.mistakes import EXIT_WRONG_SETTINGS
from config.notify import notify_systemd
from config.settings import Settings
from config.urls import broker_url, connect, results_url
from tasks import batch_pool, periodic
from tasks.alive import AliveStep
from tasks.app import make_worker_app
from tasks.child_limits import harden_child
from tasks.errors import IngestError, Reason
from tasks.ingest import Ingest
from tasks.leases import Leases
from tasks.lost_child import failed_counter, why_lost
from tasks.messages import TASK_INGEST, Arrival, UnknownVersionError, from_message
from tasks.waits import wait_seconds

STORE_TIMEOUT_SECONDS = 5.0
FIRST_ROUND_EXPIRES_SECONDS = 300


def _settings() -> Settings:
    try:
        return load.load().settings
    except load.SettingsError as error:  # Celery would print a traceback and exit with 1, and systemd start it again
        sys.stderr.write(f"{error}\n")
        sys.exit(EXIT_WRONG_SETTINGS)


settings = _settings()
app = make_worker_app(settings)
app.steps["consumer"].add(AliveStep)
app.steps["consumer"].add(batch_pool.HoldStep)
log = logs.get_logger(__name__)


@cache
def _leases() -> Leases:
    client = connect(results_url(settings), STORE_TIMEOUT_SECONDS)
    return Leases(client, settings.limits.task_time_seconds, settings.results.expire_seconds)


@cache
def _ingest() -> Ingest:
    return Ingest(settings, _leases())


batch_pool.share(lambda: _ingest().together())


@app.task(name=TASK_INGEST, Request="tasks.celery:IngestRequest", ignore_result=True, store_errors_even_if_ignored=True)
def ingest(**message: Any) -> dict[str, Any]:
    """Turn one arrival into thumbnails; the message is tasks.messages.to_message's.

    Its result is stored with the end of the lease, see tasks/results.py.
    """
    return _ingest().ingest(message)


@app.task(name=SWEEP)
def sweep() -> dict[str, int]:
    """Periodic: remove stale temporaries and claims, prune emptied inbox directories, put back interrupted removals."""
    return _periodic("sweep", periodic.sweep(settings))


@app.task(name=EXPIRE)
def expire() -> dict[str, int]:
    """Periodic: drop quarantined files past their age; results expire by themselves, see config/celery.py."""
    return _periodic("expire", periodic.expire(settings))


def _periodic(job: str, found: dict[str, int]) -> dict[str, int]:
    _leases().note_job(job, time.time())
    log.info(f"housekeeping.{job}", **found)
    return found


@signals.setup_logging.connect
def _own_logging(loglevel: int | str | None = None, **_: Any) -> None:
    logs.configure(logging.getLevelName(loglevel) if isinstance(loglevel, int) else loglevel or "INFO")
    # What they say at INFO, we say with the file's name.
    for name in ("celery.worker", "celery.apps", "celery.beat", "celery.app.trace"):
        logging.getLogger(name).setLevel(logging.WARNING)


@signals.beat_init.connect
def _first_round(**_: Any) -> None:
    """Do the periodic jobs once at the start: what a power cut left is swept now, and `status` need not wait to see beat."""
    try:
        for job in (sweep, expire):
            job.apply_async(expires=FIRST_ROUND_EXPIRES_SECONDS)
    except (KombuError, OSError) as error:
        log.warning("broker.unreachable", error=error)


@signals.worker_process_init.connect
def _harden(**_: Any) -> None:
    harden_child()


@signals.worker_process_init.connect
def _fresh_connections(**_: Any) -> None:
    _leases.cache_clear()
    _ingest.cache_clear()


@signals.worker_ready.connect
def _tell_ready(**_: Any) -> None:
    notify_systemd("READY=1")
    log.info("worker.ready")


@signals.worker_shutting_down.connect
def _tell_stopping(**_: Any) -> None:
    notify_systemd("STOPPING=1")


@signals.worker_shutting_down.connect
def _stop_waiting_for_messages(**_: Any) -> None:
    """In the main process: let Redis end its wait for the next message, which would swallow what comes from now on.

    That may be the very message that this worker gives back, or what the watcher publishes in its place. Other workers
    are woken as well; they wait again at once.
    """
    url = broker_url(settings)
    if not is_redis(url):  # RabbitMQ takes back what nobody acknowledged
        return
    try:
        with connect(url, STORE_TIMEOUT_SECONDS) as broker:
            waiting: Any = broker.client_list()
            for client in waiting:
                if client["cmd"] == "brpop":
                    broker.client_unblock(int(client["id"]))
    except RedisError as error:
        log.warning("broker.unreachable", error=error)


@signals.worker_shutting_down.connect
def _excuse_what_is_at_hand(**_: Any) -> None:
    """In the main process: told to stop, it may be killed before the images at hand are done. They are not to blame."""
    for request in tuple(state.active_requests):
        _tell_leases(request, Leases.excuse)


class IngestRequest(Request):
    """A message at work, as the main process sees it."""

    def cancel(self, *args: Any, **options: Any) -> None:
        """End it because the worker stops; the message goes back to the broker, and the lease must not outlive that."""
        super().cancel(*args, **options)
        _tell_leases(self, Leases.give_back)

    def on_failure(self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False) -> Any:
        """Of a lost child _count_lost_child tells; no traceback of Celery's then for each image of its batch."""
        error = getattr(exc_info.exception, "exc", exc_info.exception)  # billiard wraps it
        is_told = isinstance(error, WorkerLostError | TimeLimitExceeded)
        return super().on_failure(exc_info, send_failed_event, return_ok=return_ok or is_told)


def _tell_leases(request: Request, tell: Callable[[Leases, Arrival, str], bool]) -> None:
    if "token" not in request.kwargs:  # a periodic job
        return
    try:
        tell(_leases(), *from_message(request.kwargs))
    except (RedisError, UnknownVersionError) as error:  # the lease ends by itself
        log.warning("leases.unreachable", error=error)


@signals.task_failure.connect
def _count_lost_child(exception: BaseException | None = None, kwargs: dict[str, Any] | None = None, **_: Any) -> None:
    """In the main process: a child died or was killed at its time limit, so nobody else can put its arrival off."""
    if not isinstance(exception, WorkerLostError | TimeLimitExceeded) or not kwargs or "token" not in kwargs:
        return
    arrival, token = from_message(kwargs)
    why = why_lost(exception)
    told = {
        "inbox": arrival.inbox,
        "path": arrival.path,
        "arrival_id": arrival.id,
        "reason": str(why.reason),
        "message": why.message,
    }
    try:
        # Decoded, or not yet begun: it is not to blame, and its message is gone with the child.
        if _leases().give_back(arrival, token, only_decoded=True) or _leases().withdraw(arrival, token):
            log.info("image.given_back", inbox=arrival.inbox, path=arrival.path, arrival_id=arrival.id)
            return
        wait = _wait_after_lost(arrival, why)
        if _leases().put_off(arrival, token, why, wait, failed=failed_counter(why)):
            log.warning("image.attempt_lost", wait_seconds=wait, **told)
    except RedisError as error:  # the lease ends by itself, and the attempt counts as one whose worker vanished
        log.warning("image.attempt_lost", **told)
        log.warning("leases.unreachable", error=error)


def _wait_after_lost(arrival: Arrival, why: IngestError) -> float:
    """Seconds until the next attempt; none when that will only set the file aside."""
    record = _leases().record(arrival)
    if why.reason != Reason.LOST_WORKER and record.ended_children + 1 >= settings.limits.max_attempts:
        return 0.0
    tries = record.tries if record.reason == why.reason else 0
    return wait_seconds(why, tries, settings.watcher.rescan_seconds)
