import pytest

from config.addresses import masked, parse_broker_url, parse_results_url, without_passwords

GOOD_REDIS = [
    "redis://localhost",
    "redis://localhost:6379/1",
    "redis://:s3cret@host:6379/0?socket_timeout=2",
    "rediss://user:s3cret@host:6380/0?ssl_cert_reqs=required",
    "redis+socket:///run/redis/redis.sock?virtual_host=1",
    "redis+socket://:s3cret@/run/redis/redis.sock",
    "redis://[::1]:6379/0",
    "sentinel://:s3cret@one:26379/0;sentinel://:s3cret@two:26379/0?master_name=m",
]
GOOD_AMQP = ["amqp://celeryuser:s3cret@localhost:5672/celeryvhost", "amqps://host//"]


@pytest.mark.parametrize("url", ["embedded", *GOOD_REDIS, *GOOD_AMQP])
def test_brokers_may_be_embedded_redis_or_rabbitmq(url: str) -> None:
    assert parse_broker_url(url) == url


@pytest.mark.parametrize("url", ["", *GOOD_REDIS])
def test_results_are_kept_in_a_redis(url: str) -> None:
    assert parse_results_url(url) == url


@pytest.mark.parametrize("url", ["embedded", *GOOD_AMQP])
def test_results_are_kept_nowhere_else(url: str) -> None:
    with pytest.raises(ValueError, match="redis://, rediss://"):
        parse_results_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost:6379",
        "http://host",
        "REDIS://host",
        "valkey://host",
        "redis://",
        "redis:///0",
        "redis://host/name",
        "redis://host:port/0",
        "redis://host:99999/0",
        "redis://:p#ss@host/0",
        "redis://:p/ss@host/0",
        "redis://ho st/0",
        "redis://host/0\n",
        "redis+socket://run/redis.sock",
        "redis+socket://",
        "sentinel://one:26379/0;redis://two:26379/0",
        "amqp:///vhost",
        "amqp://me:p#ss@host/vhost",
        5,
        None,
    ],
)
def test_other_addresses_are_refused_with_what_is_allowed(url: object) -> None:
    with pytest.raises(ValueError, match=r"an address (like|that begins with) "):
        parse_broker_url(url)


@pytest.mark.parametrize(
    ("url", "safe"),
    [
        ("embedded", "embedded"),
        ("redis://host:6379/0", "redis://host:6379/0"),
        ("redis://user@host/0", "redis://user@host/0"),
        ("redis://[::1]:6379/0", "redis://[::1]:6379/0"),
        ("redis://:s3cret@host:6379/0", "redis://:***@host:6379/0"),
        ("amqp://me:s3:c@r/et@host/v", "amqp://me:***@host/v"),
        ("sentinel://:s3cret@one;sentinel://:s3cret@two", "sentinel://:***@one;sentinel://:***@two"),
        ("redis://host/0?password=s3cret&db=1", "redis://host/0?password=***&db=1"),
        ("amqp//me:s3cret@host", "amqp//me:***@host"),
        ("redis:/:s3cret@host", "redis:***@host"),
        ("redis://:s3cret", "redis://:***"),
    ],
)
def test_an_address_is_shown_without_its_password_even_when_it_is_wrong(url: str, safe: str) -> None:
    assert masked(url) == safe


def test_addresses_within_a_text_lose_their_passwords() -> None:
    text = "cannot reach redis://:s3cret@host:6379/0 (5 of 7) at 10:15, mail me@host"
    assert without_passwords(text) == "cannot reach redis://:***@host:6379/0 (5 of 7) at 10:15, mail me@host"
