"""The messages of the watcher on their way to the broker: sent in batches, one task an arrival; and how many wait there.

What a reader would get wrong: when a batch fails, some of it may have arrived all the same. It counts as not sent; a
message without a lease does no harm, because the worker that takes it makes the lease its own or drops it.
"""

from collections.abc import Sequence
from typing import Any

from amqp.exceptions import AMQPError
from celery import Celery
from kombu.exceptions import KombuError
from redis import RedisError

from config.celery import QUEUE
from tasks.messages import TASK_INGEST, Arrival, to_message

BROKER_ERRORS = (KombuError, AMQPError, RedisError, OSError)


class Sender:
    """The broker, as the watcher sees it; for one thread."""

    def __init__(self, app: Celery) -> None:
        self._app = app

    def send(self, leased: Sequence[tuple[Arrival, str]]) -> tuple[int, Exception | None]:
        """Publish arrivals with the tokens of their leases; (how many of them are out for certain, what then went wrong).

        Redis takes all in one round trip; RabbitMQ confirms each, so those before the one that failed are out.
        """
        sent, is_batch = 0, False
        try:
            with self._app.producer_pool.acquire(block=True) as acquired:
                producer: Any = acquired  # celery-types knows of no batches yet
                is_batch = producer.supports_batch_publish
                with producer.batch():
                    for arrival, token in leased:
                        self._send_one(producer, arrival, token)
                        sent += 1
        except BROKER_ERRORS as error:
            return 0 if is_batch else sent, error
        return sent, None

    def _send_one(self, producer: Any, arrival: Arrival, token: str) -> None:
        message = to_message(arrival, token)
        self._app.send_task(TASK_INGEST, kwargs=message, task_id=arrival.id, queue=QUEUE, producer=producer)

    def depth(self) -> int:
        """How many messages wait in the queue. Declares it, because a passive look fails where there is none yet."""
        with self._app.connection_for_write() as connection:
            connection.ensure_connection(max_retries=1, timeout=3)
            channel: Any = connection.default_channel
            return int(channel.queue_declare(queue=QUEUE, durable=True, auto_delete=False).message_count)
