"""One form of each address, which redis-py, kombu and Celery's result store all take."""

from ssl import CERT_REQUIRED
from typing import Any

import pytest
from celery import Celery
from kombu import Connection

from config import celery as celery_settings
from config.settings import Settings
from config.urls import broker_url, connect, results_url


def settings_with(url: str) -> Settings:
    return Settings.model_validate({"broker": {"url": url}})


@pytest.mark.parametrize(
    ("written", "used"),
    [
        ("rediss://h/0", "rediss://h/0?ssl_cert_reqs=required"),
        ("rediss://h/0?ssl_ca_certs=/ca.pem", "rediss://h/0?ssl_ca_certs=/ca.pem&ssl_cert_reqs=required"),
        ("rediss://h/0?ssl_cert_reqs=CERT_NONE&x=1", "rediss://h/0?ssl_cert_reqs=none&x=1"),
        ("rediss://h/0?ssl_cert_reqs=optional", "rediss://h/0?ssl_cert_reqs=optional"),
        ("redis://h/0", "redis://h/0"),
    ],
)
def test_tls_checks_certificates_unless_the_address_says_otherwise(written: str, used: str) -> None:
    settings = settings_with(written)
    assert broker_url(settings) == results_url(settings) == used
    assert results_url(Settings.model_validate({"results": {"url": written}})) == used


@pytest.mark.parametrize(
    "url",
    [
        "redis://:s%2Fcret@h:6379/3",
        "rediss://:s%2Fcret@h:6379/3",
        "rediss://:s%2Fcret@h:6379/3?ssl_cert_reqs=CERT_REQUIRED&ssl_ca_certs=/ca.pem",
        "redis+socket://:s%2Fcret@/run/redis.sock?virtual_host=3",
        "sentinel://:s%2Fcret@h1:26379/3;sentinel://:s%2Fcret@h2:26379/3",
        "sentinel://:s%2Fcret@h1:26379/3?master_name=photos;sentinel://:s%2Fcret@h2:26379/3?master_name=photos",
    ],
)
def test_an_address_is_taken_by_the_clients_of_leases_broker_and_results(url: str) -> None:
    settings = settings_with(url)
    found = connect(results_url(settings), 1.0).connection_pool.connection_kwargs
    assert (found["db"], found["password"]) == (3, "s/cret")

    app = Celery(set_as_current=False)
    app.config_from_object(celery_settings.worker(settings))
    backend: Any = app.backend
    assert (int(backend.connparams["db"]), backend.connparams["password"]) == (3, "s/cret")
    with Connection(app.conf.broker_url) as connection:
        ssl: Any = connection.ssl or {"ssl_cert_reqs": CERT_REQUIRED}
        assert ssl["ssl_cert_reqs"] == CERT_REQUIRED
