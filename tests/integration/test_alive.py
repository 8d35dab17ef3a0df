"""What a worker's consumer tells systemd, heard at the socket where systemd would."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kombu.asynchronous.timer import Timer

from tasks.alive import AliveStep, watchdog_seconds


class Consumer:
    """Celery's, as far as the step knows it."""

    def __init__(self) -> None:
        self.timer = Timer()
        self.steps: list[Any] = []


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    monkeypatch.setenv("WATCHDOG_USEC", "4000000")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(str(tmp_path / "notify"))
        heard.settimeout(10)
        yield heard


def said(systemd: socket.socket) -> list[str]:
    return systemd.recv(4096).decode().splitlines()


def test_each_turn_of_the_loop_feeds_the_watchdog_until_the_broker_is_away(systemd: socket.socket) -> None:
    consumer = Consumer()
    step = AliveStep(consumer)
    step.start(consumer)
    assert "WATCHDOG_USEC=4000000" in said(systemd)
    (entry,) = (one.entry for one in consumer.timer.queue)
    entry()
    assert said(systemd) == ["WATCHDOG=1"]
    step.stop(consumer)
    assert "WATCHDOG_USEC=86400000000" in said(systemd)
    assert entry.canceled


def test_a_watchdog_of_another_process_is_none_of_ours() -> None:
    assert watchdog_seconds({"WATCHDOG_PID": "1", "WATCHDOG_USEC": "4000000"}) == 0
    assert watchdog_seconds({}) == 0
