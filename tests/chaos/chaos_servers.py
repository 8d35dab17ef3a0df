"""The servers of a chaos run whose broker is RabbitMQ: a node and a Redis for the results, both outside of `thumbdrop up`.

What a reader would get wrong: Redis is kept running from here, as systemd would; RabbitMQ is started again by whoever killed it,
and until it listens nothing else happens, because a node takes its time.
"""

from contextlib import suppress
from pathlib import Path

from redis import RedisError

from servers import RabbitMQ, RedisServer, find_redis

SETTINGS = '\n[broker]\nurl = "{broker}"\n[results]\nurl = "{results}"\n'


class Servers:
    """One RabbitMQ and one Redis in folders of their own below `folder`."""

    def __init__(self, folder: Path) -> None:
        (folder / "redis").mkdir()
        self.redis = RedisServer(find_redis(), folder / "redis")
        self.redis_data = folder / "redis" / "appendonlydir"
        (folder / "rabbitmq").mkdir()
        self.rabbitmq = RabbitMQ(folder / "rabbitmq")

    @property
    def settings(self) -> str:
        """What the settings file says of them."""
        return SETTINGS.format(broker=self.rabbitmq.url, results=self.redis.results_url)

    def start(self) -> None:
        """Start both and wait until they answer."""
        self.redis.start()
        self.rabbitmq.start()

    def keep_running(self) -> None:
        """Start Redis again if it has ended."""
        if self.redis.has_ended:
            with suppress(AssertionError, RedisError):  # then it is tried again
                self.redis.start()

    def stop(self) -> None:
        """End both."""
        self.redis.kill()
        self.rabbitmq.stop()
