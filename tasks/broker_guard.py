"""Keeps a worker alive and quiet through a restart of its Redis: guards around two private parts of kombu.

With one task running and one slot free, kombu 5.7.0 closes a channel a second time after its transport is gone, and
the AttributeError ends the worker's main process. The guard answers with the connection parameters last seen instead.
And what a worker cannot give back then kombu writes to a file in /tmp, for somebody to bring it back by hand; the watcher
finds that those messages are lost and publishes them again.
Bound to that version: a test fails when kombu moves. Remove it when upstream is fixed.
"""

from typing import Any

from kombu.transport import redis as kombu_redis
from kombu.transport.virtual import base as kombu_virtual

GUARDED_KOMBU = "5.7.0"


def guard_redis_channels() -> None:
    """Install the guard, once."""
    channel: Any = kombu_redis.Channel
    if getattr(channel, "_thumbdrop_guarded", False):
        return
    original = channel._connparams  # noqa: SLF001

    def connparams(self: Any, asynchronous: bool = False) -> dict[str, Any]:
        connection = self.connection
        if connection is None or connection.client is None:  # the channel outlived its transport
            saved: dict[str, Any] = self.__dict__["_thumbdrop_params"][asynchronous]
            return dict(saved)
        found: dict[str, Any] = original(self, asynchronous=asynchronous)
        self.__dict__.setdefault("_thumbdrop_params", {})[asynchronous] = dict(found)
        return found

    channel._connparams = connparams  # noqa: SLF001
    virtual: Any = kombu_virtual
    virtual.emergency_dump_state = lambda _messages, **_: None
    channel._thumbdrop_guarded = True  # noqa: SLF001
