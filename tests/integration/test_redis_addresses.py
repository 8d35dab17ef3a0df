"""Every kind of Redis address carries the whole job: broker, leases and results, from one form for Celery and for us."""

import json
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from kombu.exceptions import OperationalError
from redis import Redis, RedisError

from config.settings import Settings
from config.urls import connect, results_url
from images import image_bytes
from needs import missing, need
from running import SETTINGS, MakeThumbdrop, assert_complete
from servers import die_with_pytest, find_redis, free_ports
from tasks.app import make_publisher
from waiting import wait_until

PASSWORD = "pa%ss/w:rd"
ESCAPED = "pa%25ss%2Fw%3Ard"
MASTER = "photos"


@dataclass(frozen=True)
class Addresses:
    """One Redis that listens on TCP, TLS and a unix socket and wants a password, and the sentinel that watches it."""

    folder: Path
    tcp_port: int
    tls_port: int
    sentinel_port: int

    def url(self, kind: str, database: int) -> str:
        """The address by kind, as it is written in the settings."""
        if kind == "unix socket":
            return f"redis+socket://:{ESCAPED}@{self.folder}/redis.sock?virtual_host={database}"
        if kind == "tls":
            authority = self.folder / "authority.pem"
            return f"rediss://:{ESCAPED}@localhost:{self.tls_port}/{database}?ssl_ca_certs={authority}"
        if kind == "sentinel":
            return f"sentinel://:{ESCAPED}@127.0.0.1:{self.sentinel_port}/{database}?master_name={MASTER}"
        return f"redis://:{ESCAPED}@127.0.0.1:{self.tcp_port}/{database}"

    def settings(self, kind: str) -> str:
        """Settings with the broker in database 2 and the results in database 3."""
        return f'{SETTINGS}\n[broker]\nurl = "{self.url(kind, 2)}"\n[results]\nurl = "{self.url(kind, 3)}"\n'


KINDS = ("tcp", "unix socket", "tls", "sentinel")


@pytest.fixture(scope="module")
def addresses() -> Iterator[Addresses]:
    with tempfile.TemporaryDirectory(prefix="td-addr-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        make_certificates(folder)
        found = Addresses(folder, *free_ports(3))
        (folder / "sentinel.conf").write_text(
            f"port {found.sentinel_port}\nbind 127.0.0.1\n"
            f"sentinel monitor {MASTER} 127.0.0.1 {found.tcp_port} 1\nsentinel auth-pass {MASTER} {PASSWORD}\n"
        )
        redis = (
            f"--port {found.tcp_port} --tls-port {found.tls_port} --unixsocket redis.sock --bind 127.0.0.1 "
            f"--tls-cert-file server.pem --tls-key-file server.key --tls-ca-cert-file authority.pem "
            f"--tls-auth-clients no --requirepass {PASSWORD}"
        )
        processes = [spawn(folder, [*redis.split(), "--save", ""]), spawn(folder, ["sentinel.conf", "--sentinel"])]
        try:
            wait_until(lambda: answers(processes[0], found), "Redis answers")
            wait_until(lambda: knows_master(found), "the sentinel knows its master")
            yield found
        finally:
            for process in processes:
                process.kill()
                process.wait()


def spawn(folder: Path, options: list[str]) -> "subprocess.Popen[bytes]":
    with (folder / "log").open("ab") as log:
        return subprocess.Popen(
            [find_redis(), *options],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            preexec_fn=die_with_pytest,
        )


def make_certificates(folder: Path) -> None:
    """A certificate authority, and a server certificate of it for localhost; and another authority that signed nothing."""
    openssl = need("openssl")
    key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -noenc -days 2"
    for name in ("authority", "stranger"):
        run_openssl(folder, f"{openssl} req -x509 {key} -subj /CN={name} -keyout {name}.key -out {name}.pem")
    run_openssl(
        folder,
        f"{openssl} req -x509 {key} -subj /CN=localhost -addext subjectAltName=DNS:localhost"
        " -addext basicConstraints=critical,CA:FALSE -CA authority.pem -CAkey authority.key"
        " -keyout server.key -out server.pem",
    )


def run_openssl(folder: Path, command: str) -> None:
    done = subprocess.run(command.split(), cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stderr}"


def answers(process: "subprocess.Popen[bytes]", addresses: Addresses) -> bool:
    if process.poll() is not None and "tls" in (addresses.folder / "log").read_text().lower():
        missing(f"{find_redis()} was built without TLS")
    try:
        with Redis(port=addresses.tcp_port, password=PASSWORD) as client:
            return bool(client.ping())
    except RedisError:
        return False


def knows_master(addresses: Addresses) -> bool:
    try:
        with Redis(port=addresses.sentinel_port) as client:
            reply: Any = client.execute_command("INFO", "sentinel")
            return bool(reply["master0"]["status"] == "ok")
    except (RedisError, KeyError):
        return False


@pytest.fixture
def empty(addresses: Addresses) -> Iterator[Redis]:
    """A client of the results' database, after everything was forgotten."""
    with Redis(port=addresses.tcp_port, password=PASSWORD, db=3, decode_responses=True) as client:
        client.flushall()
        yield client


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_is_ingested_through_a_redis_reached_by(
    kind: str, addresses: Addresses, empty: Redis, make_thumbdrop: MakeThumbdrop
) -> None:
    thumbdrop = make_thumbdrop(addresses.settings(kind))
    thumbdrop.library.mkdir()
    thumbdrop.start("worker", "--concurrency", "1")
    content = image_bytes()
    thumbdrop.drop("one.jpg", content)

    said = thumbdrop.command("scan", "--wait")

    assert said.code == 0, said
    assert_complete(thumbdrop, {"one.jpg": content})
    (key,) = empty.scan_iter("celery-task-meta-*")
    assert json.loads(str(empty.get(key)))["result"]["outcome"] == "done"
    assert empty.hgetall("thumbdrop:counts") == {"done": "1"}
    assert thumbdrop.command("status", "--json").json["counts"] == {"done": 1}


@pytest.mark.parametrize("kind", KINDS)
def test_the_database_in_an_address_is_the_one_that_is_used(kind: str, addresses: Addresses, empty: Redis) -> None:
    with connect(addresses.url(kind, 3), 5.0) as client:
        client.set("here", kind)
    assert empty.get("here") == kind


@pytest.mark.parametrize("trusted", ["stranger.pem", "those of the system"])
def test_a_certificate_of_a_stranger_is_refused_although_the_address_does_not_ask_for_a_check(
    trusted: str, addresses: Addresses
) -> None:
    url = addresses.url("tls", 2).replace("authority.pem", trusted)
    url = url if trusted == "stranger.pem" else url.partition("?")[0]
    settings = Settings.model_validate({"broker": {"url": url}})
    with connect(results_url(settings), 5.0) as client, pytest.raises(RedisError, match="CERTIFICATE_VERIFY_FAILED"):
        client.ping()
    with (
        make_publisher(settings).connection_for_write() as connection,
        pytest.raises(OperationalError, match="CERTIFICATE_VERIFY_FAILED"),
    ):
        connection.ensure_connection(max_retries=1, timeout=5)
