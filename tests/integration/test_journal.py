"""What reaches journald: read back from a socket as it reads it."""

import array
import logging
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from config.logs import configure, get_logger


class Journald:
    """A socket like journald's, and a stderr that systemd would have connected to it."""

    def __init__(self, folder: Path) -> None:
        self.address = str(folder / "socket")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.address)
        self._socket.settimeout(10)
        self.stderr = (folder / "stderr").open("w+")
        stat = os.fstat(self.stderr.fileno())
        self.environ = {"JOURNAL_STREAM": f"{stat.st_dev}:{stat.st_ino}"}

    def entry(self) -> dict[str, str]:
        data, passed, _, _ = self._socket.recvmsg(1 << 20, socket.CMSG_SPACE(4))
        if passed:
            (descriptor,) = array.array("i", passed[0][2])
            with open(descriptor, "rb") as file:
                file.seek(0)
                data = file.read()
        return parse(data)

    def close(self) -> None:
        self._socket.close()
        self.stderr.close()


def parse(data: bytes) -> dict[str, str]:
    found = {}
    while data:
        line, _, data = data.partition(b"\n")
        name, is_plain, value = line.partition(b"=")
        if not is_plain:
            (length,) = struct.unpack("<Q", data[:8])
            value, data = data[8 : 8 + length], data[8 + length + 1 :]
        found[name.decode()] = value.decode()
    return found


@pytest.fixture
def journald(tmp_path: Path) -> Iterator[Journald]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    journald = Journald(tmp_path)
    configure("INFO", journald.stderr, journald.environ, journald.address)
    yield journald
    configure()  # whoever speaks to a journal gives its socket back
    logging.captureWarnings(capture=False)
    root.handlers[:] = handlers
    root.setLevel(level)
    journald.close()


def test_an_event_arrives_with_its_fields_a_readable_message_and_its_priority(journald: Journald) -> None:
    get_logger("x").warning("image.quarantined", path="a/b.jpg", arrival_id="0-1", message="too wide", pixels=412000000)
    assert journald.entry() == {
        "MESSAGE": 'image.quarantined path=a/b.jpg arrival_id=0-1 message="too wide" pixels=412000000',
        "PRIORITY": "4",
        "SYSLOG_IDENTIFIER": "thumbdrop",
        "THUMBDROP_EVENT": "image.quarantined",
        "THUMBDROP_PATH": "a/b.jpg",
        "THUMBDROP_ARRIVAL_ID": "0-1",
        "THUMBDROP_MESSAGE": "too wide",
        "THUMBDROP_PIXELS": "412000000",
    }


def test_a_hostile_name_makes_no_field_of_its_own_and_no_control_character(journald: Journald) -> None:
    name = os.fsdecode(b"a\nPRIORITY=0\nTHUMBDROP_PATH=forged\x1b[2J\xff.jpg")
    get_logger("x").info("image.done", path=name)
    entry = journald.entry()
    assert entry["PRIORITY"] == "6"
    assert entry["THUMBDROP_PATH"] == r"a\nPRIORITY=0\nTHUMBDROP_PATH=forged\x1b[2J\xff.jpg"
    assert "\n" not in entry["MESSAGE"]
    assert "\x1b" not in entry["MESSAGE"]


def test_a_traceback_belongs_to_its_event(journald: Journald) -> None:
    try:
        raise ValueError("bad\nname")  # noqa: TRY301 - to be said
    except ValueError:
        get_logger("x").exception("image.failed", path="a")
    first, *others = journald.entry()["MESSAGE"].split("\n")
    assert first == "image.failed path=a"
    assert others
    assert all(line.startswith("  | ") for line in others)


def test_what_is_too_large_for_a_datagram_arrives_all_the_same(journald: Journald) -> None:
    text = "x" * 3_000_000
    get_logger("x").error("it.happened", text=text)
    assert journald.entry()["THUMBDROP_TEXT"] == text


def test_a_message_of_a_library_says_which_and_no_password(journald: Journald) -> None:
    logging.getLogger("kombu").error("cannot connect to amqp://me:s3cret@host:5672/v")
    entry = journald.entry()
    assert entry["THUMBDROP_EVENT"] == "message.logged"
    assert entry["THUMBDROP_LOGGER"] == "kombu"
    assert not any("s3cret" in value for value in entry.values())


def test_a_forked_child_says_its_own(journald: Journald) -> None:
    child = os.fork()
    if child == 0:
        get_logger("x").info("image.done", path="b")
        os._exit(0)
    os.waitpid(child, 0)
    assert journald.entry()["THUMBDROP_PATH"] == "b"
    assert (journald.stderr.seek(0), journald.stderr.read()) == (0, "")
