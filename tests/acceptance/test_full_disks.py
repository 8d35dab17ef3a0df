"""Full disks and what is like them, with the real processes: workers wait, say why, count nothing, and go on by themselves."""

import errno
import os
import resource
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from images import image_bytes
from needs import need
from running import SETTINGS, MakeThumbdrop, Thumbdrop, assert_complete, visible_files
from waiting import wait_until

pytestmark = [pytest.mark.faults, pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(120)]

# The state is elsewhere than the library: each of the two has a test of its own disk. One child, so that a test can
# take hold of it.
APART = (
    SETTINGS
    + """
[state]
path = "state"

[watcher]
rescan = "1s"

[limits]
task_time = "5s"
"""
)
UP = ("up", "--workers", "1")
DISK_BYTES = 4 << 20
FIRST = image_bytes(width=500, height=400)
LATER = {"a/later.jpg": image_bytes(width=480, height=400), "later.png": image_bytes("png", 300, 200)}

Trouble = Callable[[Thumbdrop], AbstractContextManager[None]]


@contextmanager
def mounted(folder: Path) -> Iterator[None]:
    """Make a folder a small file system of its own."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "thumbdrop-test", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@contextmanager
def filled(folder: Path, spare_bytes: int = 0) -> Iterator[None]:
    """Leave so many bytes free on a file system."""
    filler = folder / ".filler"
    room = os.statvfs(folder)
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, room.f_bavail * room.f_frsize - spare_bytes)
    yield
    filler.unlink()


def full(thumbdrop: Thumbdrop) -> AbstractContextManager[None]:
    """Nothing is free, and nobody asks for more: the write itself fails."""
    return filled(thumbdrop.library)


def nearly_full(thumbdrop: Thumbdrop) -> AbstractContextManager[None]:
    """Less than min_free."""
    return filled(thumbdrop.library, spare_bytes=700_000)


@contextmanager
def read_only(thumbdrop: Thumbdrop) -> Iterator[None]:
    subprocess.run(["mount", "-o", "remount,ro", thumbdrop.library], check=True)
    yield
    subprocess.run(["mount", "-o", "remount,rw", thumbdrop.library], check=True)


@contextmanager
def over_quota(thumbdrop: Thumbdrop) -> Iterator[None]:
    """Every rename of the worker child says EDQUOT, rename(2); not every sync, for one is of the file in the inbox."""
    child = thumbdrop.pid("worker child")
    inject = ["-e", "trace=renameat,renameat2", "-e", "inject=renameat,renameat2:error=EDQUOT"]
    with subprocess.Popen([need("strace"), "-f", "-qq", "-o", "/dev/null", *inject, "-p", str(child)]) as tracer:
        try:
            wait_until(lambda: f"TracerPid:\t{tracer.pid}" in Path(f"/proc/{child}/status").read_text(), "it is traced")
            yield
        finally:
            tracer.send_signal(signal.SIGINT)


@contextmanager
def out_of_files(thumbdrop: Thumbdrop) -> Iterator[None]:
    """The worker child may keep the files that it has open, and open no other."""
    child = thumbdrop.pid("worker child")
    before = resource.prlimit(child, resource.RLIMIT_NOFILE)
    used = {int(fd) for fd in os.listdir(f"/proc/{child}/fd")}
    free = next(number for number in range(len(used) + 1) if number not in used)
    resource.prlimit(child, resource.RLIMIT_NOFILE, (free, before[1]))
    yield
    resource.prlimit(child, resource.RLIMIT_NOFILE, before)


@pytest.mark.parametrize(
    ("trouble", "min_free", "reason", "words"),
    [
        (full, "0B", "no_space", os.strerror(errno.ENOSPC)),
        (nearly_full, "1MB", "no_space", "min_free"),
        (read_only, "0B", "read_only", os.strerror(errno.EROFS)),
        (over_quota, "0B", "no_space", os.strerror(errno.EDQUOT)),
        (out_of_files, "0B", "too_many_open_files", os.strerror(errno.EMFILE)),
    ],
    ids=["full", "nearly full", "read-only", "over quota", "out of files"],
)
def test_without_room_in_the_library_all_wait_and_go_on_by_themselves(
    make_thumbdrop: MakeThumbdrop, trouble: Trouble, min_free: str, reason: str, words: str
) -> None:
    thumbdrop = make_thumbdrop(APART.replace('min_free = "1MB"', f'min_free = "{min_free}"'))
    with mounted(thumbdrop.library):
        up = thumbdrop.start(*UP)
        thumbdrop.drop("first.jpg", FIRST)
        thumbdrop.wait_done(1)
        before = visible_files(thumbdrop.library)
        with trouble(thumbdrop):
            for name, content in LATER.items():
                thumbdrop.drop(name, content)
            wait_until(lambda: names_it(thumbdrop, words), "status names the trouble", 20, every=0.2)
            for _ in range(5 if trouble is full else 1):  # longer than the pause: it is named all the time
                assert names_it(thumbdrop, words), status(thumbdrop)["problems"]
                time.sleep(2 if trouble is full else 0)
            assert_all_wait(thumbdrop, reason, words)
            assert visible_files(thumbdrop.library) == before
        thumbdrop.wait_done(3, seconds=30)
        assert_all_is_well(thumbdrop)
        assert_complete(thumbdrop, {"first.jpg": FIRST, **LATER})
        assert "Traceback" not in up.text
        thumbdrop.stop()


def test_a_full_state_directory_is_named_and_work_goes_on_when_there_is_room(make_thumbdrop: MakeThumbdrop) -> None:
    thumbdrop = make_thumbdrop(APART)
    state = thumbdrop.folder / "state"
    with mounted(state):
        thumbdrop.start(*UP)
        thumbdrop.drop("first.jpg", FIRST)
        thumbdrop.wait_done(1)
        parts = {
            name: thumbdrop.pid(name) for name in ("redis", "watcher")
        }  # Celery's worker ends, and is started again
        with filled(state):
            wait_until(lambda: names_it(thumbdrop, "MISCONF"), "status says that Redis refuses to write", 30)
            for name, content in LATER.items():
                thumbdrop.drop(name, content)
            story = wait_until(
                lambda: (s := why(thumbdrop, "later.png"))["state"] == "paused" and s, "why says that it is held up"
            )
            assert "MISCONF" in story["store_refusal"]
        thumbdrop.wait_done(3, seconds=60)
        assert_all_is_well(thumbdrop)
        assert_complete(thumbdrop, {"first.jpg": FIRST, **LATER})
        assert {name: thumbdrop.pid(name) for name in parts} == parts, "they went on"
        thumbdrop.stop()


def status(thumbdrop: Thumbdrop) -> dict[str, Any]:
    document: dict[str, Any] = thumbdrop.command("status", "--json").json
    return document


def why(thumbdrop: Thumbdrop, name: str) -> dict[str, Any]:
    story: dict[str, Any] = thumbdrop.command("why", f"inbox/{name}", "--json").json
    return story


def names_it(thumbdrop: Thumbdrop, words: str) -> bool:
    return any(words.lower() in problem.lower() for problem in status(thumbdrop)["problems"])


def assert_all_wait(thumbdrop: Thumbdrop, reason: str, words: str) -> None:
    """Each is put off for that reason or held back by the pause, and no attempt was counted against it."""
    for name in LATER:
        story = wait_until(partial(story_at_rest, thumbdrop, name), f"{name} waits", 30)
        assert story["state"] in {"retrying", "paused"}
        assert words.lower() in " ".join(story["story"]).lower()
        assert reason in {story.get("reason"), story.get("paused", {}).get("reason")}
        assert story.get("attempts", 0) == 0
    assert status(thumbdrop)["counts"] == {"done": 1}


def story_at_rest(thumbdrop: Thumbdrop, name: str) -> dict[str, Any]:
    story = why(thumbdrop, name)
    return {} if story["state"] in {"in_flight", "due", "settling"} else story


def assert_all_is_well(thumbdrop: Thumbdrop) -> None:
    """Nothing is left of the trouble, in `status` or in the story of a file."""
    wait_until(lambda: not status(thumbdrop)["problems"], "status has no problems", 30)
    assert status(thumbdrop)["counts"] == {"done": 3}
    assert all(why(thumbdrop, name)["state"] == "done" for name in LATER)
