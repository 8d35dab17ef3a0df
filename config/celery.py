"""Every Celery setting that is not Celery's default, with its reason; one place for both sides.

A publisher and a worker must agree on queue, serializer and acknowledgements, so both are made here. The traps
behind the reasons were measured with Celery 5.7.0 and kombu 5.7.0.
"""

from typing import Any
from urllib.parse import urlsplit

from kombu import Queue

from config.settings import Settings
from config.urls import broker_url, celery_url, results_url, sentinel_master

QUEUE = "thumbdrop"
SWEEP = "thumbdrop.sweep"
EXPIRE = "thumbdrop.expire"


def is_redis(url: str) -> bool:
    """Whether an address names a Redis (directly, by unix socket, by TLS or through sentinels)."""
    return urlsplit(url).scheme in ("redis", "rediss", "redis+socket", "sentinel")


def common(settings: Settings) -> dict[str, Any]:
    """What publisher and worker must agree on."""
    url = broker_url(settings)
    return {
        "broker_url": celery_url(url),
        # No pickle: access to the broker must not mean running code.
        "task_serializer": "json",
        "accept_content": ["json"],
        "result_serializer": "json",
        # A direct exchange makes Celery publish to the anonymous one. A named exchange forgets its bindings when Redis
        # is flushed, and then swallows messages while reporting success.
        "task_default_queue": QUEUE,
        "task_default_exchange_type": "direct",
        "task_queues": [Queue(QUEUE, routing_key=QUEUE)],
        "task_create_missing_queues": False,  # a typo must fail, not create a queue that nobody reads
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,  # the default gives up after 100 tries
        "broker_transport_options": _transport(url),
        "enable_utc": True,
        "timezone": "UTC",
    }


def publisher(settings: Settings) -> dict[str, Any]:
    """The watcher's side: no result store (a dead one would block publishing for 19 s), and it fails fast."""
    options = common(settings)
    transport = dict(options["broker_transport_options"])
    if is_redis(options["broker_url"]):
        transport["socket_timeout"] = 3  # the default None blocks for ever on a hung broker
    options["broker_transport_options"] = transport
    return options | {
        "result_backend": None,
        "broker_connection_timeout": 3,
        "task_publish_retry": True,  # False is slower to fail: it falls back to the connection's own retries
        "task_publish_retry_policy": {"max_retries": 1, "interval_start": 0, "interval_step": 0.2, "interval_max": 0.2},
    }


def worker(settings: Settings) -> dict[str, Any]:
    """The worker's side, and what `celery -A tasks inspect|result|beat` use."""
    limit = settings.limits.task_time_seconds
    return common(settings) | {
        "result_backend": celery_url(results_url(settings)),
        "result_expires": int(settings.results.expire_seconds),
        "result_extended": False,
        "task_track_started": False,  # one write per task to the result store, not two
        "redis_socket_timeout": 5,  # the default holds a slot for 120 s
        "redis_socket_connect_timeout": 3,
        "result_backend_transport_options": _result_transport(settings),
        "task_acks_late": True,  # acknowledge after the work
        "task_reject_on_worker_lost": False,  # True loops for ever on Redis; attempts are counted in tasks/leases.py
        "task_acks_on_timeout": True,  # False loops for ever
        "task_time_limit": limit,  # the hard one: only a kill stops a decoder written in C
        "worker_pool": "tasks.batch_pool:TaskPool",  # prefork: a decoder that crashes takes its own child only
        # One message waits for each child, so that a child which is done need not wait for a round trip to the broker; more
        # as soon as images prove quick (tasks/batch_pool.py). All begin within the time that one task may take, which is when
        # a message in no queue counts as lost.
        "worker_prefetch_multiplier": 2,
        # A bound on leaks other than of memory. Not lower: a replacement takes up to two seconds, and two children that
        # began together end together.
        "worker_max_tasks_per_child": 10_000,
        "worker_max_memory_per_child": 400_000,  # KiB of peak memory: a child that met a large image is replaced
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "worker_deduplicate_successful_tasks": False,
        "worker_enable_remote_control": True,  # its connection is what notices a dead Redis
        "worker_send_task_events": False,
        "worker_hijack_root_logger": False,  # our own lines, see config/logs.py
        "worker_soft_shutdown_timeout": limit,  # finish the image at hand, then give back
        "worker_lost_wait": 2,
        "worker_proc_alive_timeout": 30,  # a starved machine needs more than the default of 4 s
        "broker_channel_error_retry": False,  # exit and be started again with back-off; True loops hot
        "beat_schedule": _beat_schedule(),
    }


def _transport(url: str) -> dict[str, Any]:
    if not is_redis(url):
        return {"confirm_publish": True, "confirm_timeout": 5}
    options: dict[str, Any] = {
        # What a worker has at hand it keeps in its own memory, and gives back when it stops; what is lost with it the
        # watcher publishes again when the lease ends. In Redis too it would cost each image two round trips.
        "ack_emulation": False,
        "socket_connect_timeout": 3,
        "socket_keepalive": True,
        "health_check_interval": 25,
        "priority_steps": [0],  # one list per queue
    }
    if url.startswith("sentinel:"):
        options["master_name"] = sentinel_master(url)
    return options


def _result_transport(settings: Settings) -> dict[str, Any]:
    url = results_url(settings)
    # Do not hold a slot for 20 s while the result store is away: the outcome stands in the library.
    options: dict[str, Any] = {
        "retry_policy": {"max_retries": 2, "interval_start": 0, "interval_step": 0.5, "interval_max": 1}
    }
    if url.startswith("sentinel:"):
        options["master_name"] = sentinel_master(url)
    return options


def _beat_schedule() -> dict[str, Any]:
    # Each expires before the next is due, so that a backlog never holds two of them.
    return {
        "sweep": {"task": SWEEP, "schedule": 600.0, "options": {"expires": 590}},
        "expire": {"task": EXPIRE, "schedule": 3600.0, "options": {"expires": 3590}},
    }
