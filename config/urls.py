"""Addresses: which broker and which Redis the settings mean, and how to reach them.

Knows the one rule about "embedded": it is a Redis on a unix socket in the state directory. What a reader would get
wrong: a unix socket's path may have at most 107 bytes (unix(7)), so a deep state directory moves the socket elsewhere.
"""

import hashlib
import os
import re
import stat
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel

from config.settings import Settings

_MAX_SOCKET_PATH_BYTES = 107


def state_dir(settings: Settings) -> Path:
    """Where the embedded Redis, lock files and beat's schedule live."""
    return settings.state.path or settings.library.path / ".thumbdrop"


def redis_socket(settings: Settings) -> Path:
    """The embedded Redis's socket: in the state directory, or if that is too deep in a private temporary directory."""
    socket = state_dir(settings) / "redis.sock"
    if len(os.fsencode(socket)) <= _MAX_SOCKET_PATH_BYTES:
        return socket
    digest = hashlib.sha256(os.fsencode(state_dir(settings))).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"thumbdrop-{os.getuid()}-{digest}" / "redis.sock"


def make_private_dir(path: Path) -> None:
    """Create a directory of mode 0700, or check that the one there is ours alone (it may lie in a shared /tmp).

    Raises PermissionError when somebody else owns it or may enter it.
    """
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise PermissionError(f"{path} is not a directory of ours; remove it")
    path.chmod(0o700)


def is_embedded(settings: Settings) -> bool:
    """Whether `thumbdrop up` has to run the Redis itself."""
    return settings.broker.url == "embedded"


def broker_url(settings: Settings) -> str:
    """The broker's address, in the form that redis-py, kombu and Celery's result store all take."""
    if is_embedded(settings):
        return f"redis+socket://{redis_socket(settings)}?virtual_host=0"
    return _with_certificates_checked(settings.broker.url)


def results_url(settings: Settings) -> str:
    """The address of the Redis with results, leases and attempts; by default the broker's, when that is a Redis."""
    return _with_certificates_checked(settings.results.url) or broker_url(settings)


def _with_certificates_checked(url: str) -> str:
    """A rediss address that says how certificates are checked, "required" unless it says otherwise.

    Without that kombu checks none, and Celery's result store refuses to work; only they know the names in capitals.
    """
    if urlsplit(url).scheme != "rediss":
        return url
    url = re.sub("(?<=[?&]ssl_cert_reqs=)CERT_[A-Z]+", lambda name: name[0].removeprefix("CERT_").lower(), url)
    if "ssl_cert_reqs" in parse_qs(urlsplit(url).query):
        return url
    return f"{url}{'&' if '?' in url else '?'}ssl_cert_reqs=required"


def celery_url(url: str) -> str:
    """An address as Celery takes it: it refuses the parameters of a sentinel's (the master's name is an option there)."""
    if urlsplit(url).scheme != "sentinel":
        return url
    return ";".join(part.partition("?")[0] for part in url.split(";"))


def connect(url: str, socket_timeout_seconds: float) -> Redis:
    """A client for the Redis at `url` (redis, rediss, redis+socket or sentinel); connects at its first command.

    Without retries of its own: a repeated command may have been applied already, and every caller of ours has a
    better moment to try again. Raises ValueError for an address that names no Redis.
    """
    options: dict[str, Any] = {
        "decode_responses": True,
        "socket_timeout": socket_timeout_seconds,
        "socket_connect_timeout": socket_timeout_seconds,
        "retry": Retry(NoBackoff(), 0),
    }
    scheme = urlsplit(url).scheme
    if scheme == "sentinel":
        return _connect_through_sentinel(url, options)
    if scheme == "redis+socket":
        parts = urlsplit(url)
        database = parse_qs(parts.query).get("virtual_host", ["0"])[0]
        credentials = f"{parts.netloc.rpartition('@')[0]}@" if "@" in parts.netloc else ""
        url = f"unix://{credentials}{parts.path}?db={database}"
    return Redis.from_url(url, **options)


def sentinel_master(url: str) -> str:
    """The name of the master in a sentinel address: its `master_name` parameter, "mymaster" by default."""
    return parse_qs(urlsplit(url.partition(";")[0]).query).get("master_name", ["mymaster"])[0]


def _connect_through_sentinel(url: str, options: dict[str, Any]) -> Redis:
    hosts = [urlsplit(part) for part in url.split(";")]
    options["db"] = int(hosts[0].path.strip("/") or 0)
    options["password"] = unquote(hosts[0].password or "") or None
    options["username"] = unquote(hosts[0].username or "") or None
    addresses = [(host.hostname, host.port or 26379) for host in hosts]
    watched = Sentinel(addresses, socket_timeout=options["socket_timeout"])  # type: ignore[no-untyped-call]
    master: Redis = watched.master_for(sentinel_master(url), **options)  # type: ignore[no-untyped-call]
    return master
