"""The checks of `thumbdrop check` that ask the broker and the result store."""

import re
import time
from typing import Any

from redis import RedisError

from config.addresses import masked
from config.settings import Settings
from config.urls import broker_url, connect, is_embedded, results_url
from watcher.asking import explain
from watcher.check_places import judge_clock
from watcher.embedded import OLDEST_VERSION, EmbeddedError, EmbeddedRedis, find_server, server_version
from watcher.finding import Finding
from watcher.status_questions import reach_broker

_SECONDS = 3.0


def check_broker(settings: Settings) -> list[Finding]:
    """Look whether the broker lets us in; the embedded one may not be running."""
    if is_embedded(settings):
        return _check_embedded(settings)
    address = masked(broker_url(settings))
    try:
        reach_broker(settings)
    except Exception as error:  # noqa: BLE001 - every transport of kombu has errors of its own
        remedy = "start it, or mend broker.url: host, port, user, password, virtual host"
        return [Finding("failed", f"broker {address}: {explain(error)}", remedy)]
    return [Finding("ok", f"broker {address}: answers")]


def _check_embedded(settings: Settings) -> list[Finding]:
    try:
        server = find_server()
    except EmbeddedError as error:
        return [Finding("failed", str(error))]
    version = ".".join(map(str, server_version(server)))
    found = [Finding("ok", f"broker: embedded, {server} version {version}")]
    if not EmbeddedRedis(settings).answers():
        found.append(Finding("note", "broker: the embedded Redis is not running; `thumbdrop up` starts it"))
    return found


def check_results(settings: Settings) -> list[Finding]:
    """Look at the Redis with results, leases and attempts: reached, new enough, durable, not evicting, same time."""
    if is_embedded(settings) and not settings.results.url and not EmbeddedRedis(settings).answers():
        return []  # said by check_broker
    address = masked(results_url(settings))
    try:
        with connect(results_url(settings), _SECONDS) as client:
            redis: Any = client  # redis-py types each reply as the union of all that any option can make of it
            skew = redis.time()[0] - time.time()
            return judge_redis(address, redis.info(), _save_setting(redis), skew)
    except (RedisError, OSError) as error:
        remedy = "start it, or mend results.url: host, port, user, password, database"
        return [Finding("failed", f"result store {address}: {explain(error)}", remedy)]


def _save_setting(redis: Any) -> str | None:
    try:
        return str(redis.config_get("save").get("save", ""))
    except RedisError:
        return None  # a hosted Redis keeps its settings to itself


def judge_redis(address: str, info: dict[str, Any], save: str | None, skew_seconds: float) -> list[Finding]:
    """Judge what a Redis says of itself; `save` is its setting of that name, None when it does not tell. Pure."""
    store = f"result store {address}"
    version = str(info.get("redis_version", ""))
    numbers = tuple(map(int, re.findall(r"\d+", version)[:2]))
    found = [Finding("ok", f"{store}: answers, version {version}")]
    if numbers < OLDEST_VERSION:
        found = [Finding("failed", f"{store}: version {version} is too old", "install Redis 6.2 or newer, or Valkey")]
    if not info.get("aof_enabled") and save == "":
        what = f"{store}: keeps nothing on disk; after its restart, work is repeated and retries start anew"
        found.append(Finding("warning", what, "set appendonly yes in redis.conf"))
    failing = [name for name in ("rdb_last_bgsave_status", "aof_last_write_status") if info.get(name, "ok") != "ok"]
    if failing:
        what = f"{store}: could not write its data to disk ({', '.join(failing)}), and may refuse to be written to"
        found.append(
            Finding("failed", what, "look into its log: mostly its disk is full, or it may not write its directory")
        )
    policy = info.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        what = f"{store}: maxmemory-policy is {policy}, so leases and messages may be thrown away"
        found.append(Finding("warning", what, "set maxmemory-policy noeviction in redis.conf"))
    return found + judge_clock(store, skew_seconds)
