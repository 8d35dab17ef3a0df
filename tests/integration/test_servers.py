"""The servers that other tests stand on are real: what is put in comes out, also after a kill or a restart."""

from kombu import Connection

from servers import RabbitMQ, RedisServer


def put_and_get(url: str) -> object:
    with Connection(url, connect_timeout=5) as connection, connection.SimpleQueue("thumbdrop-probe") as queue:
        queue.put({"said": "hello"})
        message = queue.get(timeout=5)
        message.ack()
        return message.payload


def test_the_private_redis_carries_a_message(redis_server: RedisServer) -> None:
    assert put_and_get(redis_server.broker_url) == {"said": "hello"}


def test_the_private_rabbitmq_carries_a_message_for_the_user_of_the_readme(rabbitmq: RabbitMQ) -> None:
    assert put_and_get(rabbitmq.url) == {"said": "hello"}


def test_the_two_addresses_of_the_private_redis_are_two_databases(redis_server: RedisServer) -> None:
    redis_server.flush()
    with redis_server.client(0) as broker, redis_server.client(1) as results:
        broker.set("here", "1")
        assert results.get("here") is None


def test_the_private_redis_keeps_what_it_holds_over_a_restart_and_forgets_it_when_flushed(
    redis_server: RedisServer,
) -> None:
    with redis_server.client() as client:
        client.set("kept", "1")
    redis_server.restart()
    with redis_server.client() as client:
        assert client.get("kept") == "1"
    redis_server.flush()
    with redis_server.client() as client:
        assert client.get("kept") is None


def test_a_killed_redis_comes_back_under_the_same_address(redis_server: RedisServer) -> None:
    redis_server.kill()
    redis_server.start()
    with redis_server.client() as client:
        assert client.ping()
