"""`thumbdrop scan`: follows what stands in the inboxes to its end, on a terminal and in a pipe, with and without a watcher."""

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from images import image_bytes
from running import SETTINGS, MakeThumbdrop, Thumbdrop, assert_complete
from servers import RedisServer, free_ports
from waiting import wait_until

PLAIN_LINE = re.compile(r"(\d+)/(\d+) done, (\d+) quarantined(, \d+ waiting)?")
BAD = {"no-image.jpg": b"This is a text.\n"}


@pytest.fixture
def settings(redis_server: RedisServer) -> str:
    """Settings with a Redis that is empty, of the test's own."""
    redis_server.flush()
    return f'{SETTINGS}\n[broker]\nurl = "{redis_server.broker_url}"\n[results]\nurl = "{redis_server.results_url}"\n'


@pytest.fixture(scope="module")
def photos() -> dict[str, bytes]:
    """200 small images by name."""
    tail = image_bytes(width=120, height=80)
    return {f"{n % 7}/photo {n:03}.jpg": tail + b"%d" % n for n in range(200)}


def installation(make: MakeThumbdrop, settings: str, content: Mapping[str, bytes], *, watcher: bool) -> Thumbdrop:
    """A Thumbdrop whose one worker is stopped, so that a scan sees everything that was dropped."""
    thumbdrop = make(settings)
    thumbdrop.library.mkdir()
    thumbdrop.start("worker", "--concurrency", "2")
    signal_worker(thumbdrop, signal.SIGSTOP)
    for name, one in content.items():
        thumbdrop.drop(name, one)
    if watcher:
        thumbdrop.start("watch")
    return thumbdrop


def signal_worker(thumbdrop: Thumbdrop, number: int) -> None:
    for role in ("worker", "worker child"):
        for pid in thumbdrop.pids()[role]:
            os.kill(pid, number)


def piped_scan(thumbdrop: Thumbdrop, total: int) -> tuple[int, list[str], float]:
    """`scan --wait` into a file; the worker goes on once the scan has seen everything. Code, lines, seconds."""
    began = time.monotonic()
    scan = thumbdrop.spawn([str(thumbdrop.program), "scan", "--wait"], "scan", (f"0/{total} done",))
    signal_worker(thumbdrop, signal.SIGCONT)
    code = scan.wait(50)
    return code, scan.text.splitlines(), time.monotonic() - began


def scan_on_a_terminal(thumbdrop: Thumbdrop, total: int) -> tuple[int, str]:
    """The same on a terminal of 100 columns; the exit code and everything that it was sent."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    scan = subprocess.Popen(
        [str(thumbdrop.program), "scan", "--wait"],
        cwd=thumbdrop.folder,
        env={**thumbdrop.environ, "TERM": "xterm-256color"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    shown = ""
    for text in pieces_from(ours):
        if f"0/{total}" not in shown and f"0/{total}" in shown + text:
            signal_worker(thumbdrop, signal.SIGCONT)
        shown += text
    os.close(ours)
    return scan.wait(10), shown


def pieces_from(terminal: int) -> Iterator[str]:
    while True:
        try:
            piece = os.read(terminal, 65536)
        except OSError:  # EIO: the last process on the other side is gone
            return
        if not piece:
            return
        yield piece.decode(errors="replace")


def test_with_a_watcher_a_terminal_shows_one_progress_bar_until_all_are_done(
    make_thumbdrop: MakeThumbdrop, settings: str, photos: dict[str, bytes]
) -> None:
    thumbdrop = installation(make_thumbdrop, settings, photos, watcher=True)

    code, shown = scan_on_a_terminal(thumbdrop, 200)

    assert code == 0, shown
    assert "━" in shown
    assert "\x1b[2K" in shown, "the bar is drawn over itself"
    counts = [int(number) for number in re.findall(r"(\d+)/200", shown)]
    assert counts == sorted(counts)
    assert (counts[0], counts[-1]) == (0, 200)
    assert len(set(counts)) > 3, "it moves"
    assert shown.endswith("200 done, 0 quarantined, 0 waiting\r\n")
    assert_complete(thumbdrop, photos)


def test_without_a_watcher_a_pipe_gets_plain_lines_until_all_are_done(
    make_thumbdrop: MakeThumbdrop, settings: str, photos: dict[str, bytes]
) -> None:
    thumbdrop = installation(make_thumbdrop, settings, photos, watcher=False)

    code, lines, seconds = piped_scan(thumbdrop, 200)

    assert code == 0, lines
    assert lines[-1] == "200 done, 0 quarantined, 0 waiting"
    told = [PLAIN_LINE.fullmatch(line) for line in lines[:-1]]
    assert all(told), lines
    done = [int(line[1]) for line in told if line]
    assert done == sorted(set(done)), "no line is said twice"
    assert done[-1] == 200
    assert len(done) <= seconds + 2, "at most a line a second"
    assert_complete(thumbdrop, photos)
    assert thumbdrop.command("status", "--json").json["counts"] == {"done": 200}

    thumbdrop.drop("one-more.jpg", image_bytes("jpeg", 120, 80))
    again = thumbdrop.command("scan", "--wait", seconds=20)
    assert again.text.endswith("1 done, 0 quarantined, 0 waiting\n"), "the first scan was no watcher to be asked"


@pytest.mark.parametrize("watcher", [True, False], ids=["with a watcher", "without one"])
def test_a_quarantined_file_makes_the_exit_code_1(
    watcher: bool, make_thumbdrop: MakeThumbdrop, settings: str, photos: dict[str, bytes]
) -> None:
    content = {**dict(list(photos.items())[:3]), **BAD}
    thumbdrop = installation(make_thumbdrop, settings, content, watcher=watcher)

    if watcher:
        code, lines, _ = piped_scan(thumbdrop, 4)
        shown = "\n".join(lines)
    else:
        code, shown = scan_on_a_terminal(thumbdrop, 4)

    assert code == 1, shown
    assert "3 done, 1 quarantined, 0 waiting" in shown
    assert set(thumbdrop.reasons()) == {"inbox/no-image.jpg"}
    # The next scan has nothing to say against anything.
    assert thumbdrop.command("scan", "--wait").code == 0


def test_without_wait_it_returns_as_soon_as_everything_is_handed_to_the_workers(
    make_thumbdrop: MakeThumbdrop, settings: str, photos: dict[str, bytes], redis_server: RedisServer
) -> None:
    content = dict(list(photos.items())[:10])
    thumbdrop = installation(make_thumbdrop, settings, content, watcher=False)

    said = thumbdrop.command("scan")

    assert (said.code, said.err) == (0, b"")
    assert said.text.startswith("10 files found")
    with redis_server.client(0) as broker, redis_server.client(1) as results:
        assert broker.llen("thumbdrop") in (9, 10)  # the stopped worker's BRPOP may have been answered with one
        assert results.scard("thumbdrop:flight:inbox") == 10
    signal_worker(thumbdrop, signal.SIGCONT)
    thumbdrop.wait_done(10)
    assert_complete(thumbdrop, content)


def test_wrong_usage_and_wrong_settings_have_exit_codes_of_their_own(make_thumbdrop: MakeThumbdrop) -> None:
    thumbdrop = make_thumbdrop()
    assert thumbdrop.command("scan", "--forever").code == 2
    assert thumbdrop.command("scan", "inbox/photo.jpg").code == 2
    thumbdrop.configure("[watcher]\nrescan = 5\n")
    said = thumbdrop.command("scan", "--wait")
    assert said.code == 78
    assert b"watcher.rescan" in said.err


def nobody_listens(redis: RedisServer) -> tuple[str, str]:
    return f"amqp://celeryuser:secret@127.0.0.1:{free_ports(1)[0]}/celeryvhost", redis.results_url


def nothing_is_there(_: RedisServer) -> tuple[str, str]:
    socket = Path("/nonexistent/redis.sock")
    return f"redis+socket://{socket}?virtual_host=0", f"redis+socket://{socket}?virtual_host=1"


@pytest.mark.parametrize("addresses", [nobody_listens, nothing_is_there], ids=["RabbitMQ", "Redis"])
@pytest.mark.parametrize("words", [["scan"], ["scan", "--wait"]], ids=" ".join)
def test_a_broker_that_is_down_is_named_and_makes_the_exit_code_1(
    words: list[str],
    addresses: Callable[[RedisServer], tuple[str, str]],
    make_thumbdrop: MakeThumbdrop,
    redis_server: RedisServer,
) -> None:
    redis_server.flush()
    broker, results = addresses(redis_server)
    thumbdrop = make_thumbdrop(f'{SETTINGS}\n[broker]\nurl = "{broker}"\n[results]\nurl = "{results}"\n')
    thumbdrop.library.mkdir()
    file = thumbdrop.drop("photo.jpg", image_bytes())

    said = thumbdrop.command(*words, seconds=20)

    assert (said.code, said.out) == (1, b"")
    assert said.err.startswith(b"Error: nothing can be published, the broker "), said.err
    assert b"thumbdrop status" in said.err
    assert b"secret" not in said.err
    assert said.err.count(b"\n") == 1, "a message, no traceback"
    assert file.exists()


def test_a_redis_that_hangs_does_not_hang_a_scan(
    make_thumbdrop: MakeThumbdrop, settings: str, redis_server: RedisServer
) -> None:
    thumbdrop = make_thumbdrop(settings)
    os.kill(redis_server.pid, signal.SIGSTOP)
    try:
        said = thumbdrop.command("scan", "--wait", seconds=25)
    finally:
        os.kill(redis_server.pid, signal.SIGCONT)
        wait_until(redis_server.client().ping, "Redis answers again")
    assert said.code == 1
    assert b"nothing can be published" in said.err
