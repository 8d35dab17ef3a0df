"""Stopping in order, and not in order at all: whatever ends, in whatever way, every photo ends complete."""

import os
import signal
from collections.abc import Mapping

import pytest
from PIL import Image

from images import image_bytes
from running import SETTINGS, MakeThumbdrop, Thumbdrop, assert_complete, path_in, visible_files
from waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

PHOTOS = 40
FOLDER = "walk"
# A window much smaller than the work, so that a watcher is needed to the end. The task time is long enough for any of
# these photos on a busy machine, and short enough for the leases of the dead to end soon.
FEW_IN_FLIGHT = (
    SETTINGS
    + """
[watcher]
max_in_flight = 8

[limits]
task_time = "5s"
"""
)
UP = ("up", "--workers", "2")


@pytest.fixture(scope="module")
def photos() -> Mapping[str, bytes]:
    """Forty photos of 6 MP, together some ten seconds of work for one CPU; no two have the same bytes."""
    content = image_bytes("jpeg", 3000, 2000, progressive=True)
    return {f"{FOLDER}/photo {number:02}.jpg": _with_comment(content, number) for number in range(PHOTOS)}


def _with_comment(jpeg: bytes, number: int) -> bytes:
    return jpeg[:2] + b"\xff\xfe\x00\x06%04d" % number + jpeg[2:]  # ITU-T T.81, B.2.4.5


def in_the_middle_of(thumbdrop: Thumbdrop, photos: Mapping[str, bytes]) -> None:
    """Move the folder with the photos in and wait until some are done, while most of them are not."""
    folder = thumbdrop.folder / FOLDER
    folder.mkdir()
    for name, content in photos.items():
        (thumbdrop.folder / name).write_bytes(content)
    folder.rename(thumbdrop.inbox / FOLDER)
    done = wait_until(lambda: (n := len(thumbdrop.manifests())) >= 4 and n, "four photos are done", 30)
    assert done < len(photos) - 8, "it was too quick for the test to come between"


def assert_nothing_is_half_written(thumbdrop: Thumbdrop) -> None:
    """Assert that what is visible is whole, and that a manifest's outputs all stand."""
    for file in visible_files(thumbdrop.library / "thumbnails"):
        with Image.open(file) as picture:
            picture.load()
    for manifest in thumbdrop.manifests().values():
        for thumbnail in manifest["thumbnails"]:
            assert path_in(thumbdrop.library, thumbnail, "path").stat().st_size == thumbnail["size_bytes"]


def assert_told_as_done(thumbdrop: Thumbdrop, photos: Mapping[str, bytes]) -> None:
    """Assert that `status` has nothing to complain of any more, and that `why` knows the end of a story."""

    def has_problems() -> bool:
        return bool(thumbdrop.command("status", "--json").json["problems"])

    wait_until(lambda: not has_problems(), "status has nothing to say", 30)
    assert thumbdrop.command("why", f"inbox/{list(photos)[-1]}", "--json").json["state"] == "done"


@pytest.mark.parametrize("way", ["Ctrl-C", "SIGTERM"])
def test_stopping_in_the_middle_of_work_is_orderly_and_the_next_start_goes_on(
    make_thumbdrop: MakeThumbdrop, photos: Mapping[str, bytes], way: str
) -> None:
    thumbdrop = make_thumbdrop(FEW_IN_FLIGHT)
    up = thumbdrop.start(*UP)
    in_the_middle_of(thumbdrop, photos)
    if way == "Ctrl-C":
        up.interrupt()
    else:
        up.process.send_signal(signal.SIGTERM)
    assert up.wait(20) == 0
    assert thumbdrop.pids() == {}
    # In order: the server goes last, so nobody had to do without it.
    assert "watcher.stopped" in up.text
    assert "unreachable" not in up.text
    assert "Traceback" not in up.text
    assert_nothing_is_half_written(thumbdrop)
    assert len(thumbdrop.manifests()) < len(photos)

    thumbdrop.start(*UP)
    thumbdrop.wait_done(len(photos))
    assert_complete(thumbdrop, photos)


@pytest.mark.parametrize("part", ["watcher", "worker", "worker child", "redis", "beat"])
def test_killing_any_part_in_the_middle_of_work_leaves_every_photo_complete(
    make_thumbdrop: MakeThumbdrop, photos: Mapping[str, bytes], part: str
) -> None:
    thumbdrop = make_thumbdrop(FEW_IN_FLIGHT)
    up = thumbdrop.start(*UP)
    in_the_middle_of(thumbdrop, photos)
    killed = thumbdrop.pid(part)
    os.kill(killed, signal.SIGKILL)
    thumbdrop.wait_done(len(photos), seconds=90)
    assert_complete(thumbdrop, photos)
    wait_until(lambda: set(thumbdrop.pids().get(part, [])) - {killed}, f"there is another {part}", 40)
    assert killed not in thumbdrop.pids()[part]
    assert_told_as_done(thumbdrop, photos)
    assert part == "worker child" or f"{part} was killed by SIGKILL" in up.text


def test_killing_a_worker_together_with_its_children_leaves_every_photo_complete(
    make_thumbdrop: MakeThumbdrop, photos: Mapping[str, bytes]
) -> None:
    thumbdrop = make_thumbdrop(FEW_IN_FLIGHT)
    thumbdrop.start(*UP)
    in_the_middle_of(thumbdrop, photos)
    os.killpg(thumbdrop.pid("worker"), signal.SIGKILL)  # as the kernel does to a unit that is out of memory
    thumbdrop.wait_done(len(photos), seconds=90)
    assert_complete(thumbdrop, photos)
    assert_told_as_done(thumbdrop, photos)


def test_killing_up_leaves_no_process_behind_and_the_next_one_finishes_the_work(
    make_thumbdrop: MakeThumbdrop, photos: Mapping[str, bytes]
) -> None:
    thumbdrop = make_thumbdrop(FEW_IN_FLIGHT)
    up = thumbdrop.start(*UP)
    in_the_middle_of(thumbdrop, photos)
    up.process.kill()
    assert up.wait() == -signal.SIGKILL
    wait_until(lambda: not thumbdrop.pids(), f"no process is left of {thumbdrop.pids()}", 20)
    problems = thumbdrop.command("status", "--json").json["problems"]
    assert any("`thumbdrop up` runs it" in problem for problem in problems)
    story = thumbdrop.command("why", f"inbox/{thumbdrop.standing()[-1]}", "--json").json
    assert (story["state"], story["story"][-1].startswith("the result store does not answer")) == ("due", True)
    assert_nothing_is_half_written(thumbdrop)

    thumbdrop.start(*UP)
    thumbdrop.wait_done(len(photos), seconds=90)
    assert_complete(thumbdrop, photos)
    assert_told_as_done(thumbdrop, photos)
