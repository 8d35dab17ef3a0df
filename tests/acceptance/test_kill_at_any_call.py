"""kill -9 of a real worker child at every system call of an ingest that changes the disk, from outside (strace).

The renames, links and unlinks run with the other tests. `pytest -m every_syscall` does the same for every call by which
anything is made, written, synced or closed; it takes some minutes.
"""

import re
from collections import Counter
from collections.abc import Mapping
from itertools import cycle
from pathlib import Path

import pytest

from images import image_bytes
from running import SETTINGS, MakeThumbdrop, Thumbdrop, assert_complete, path_in, visible_files
from straced import Attached, kill_at
from waiting import wait_until

pytestmark = [pytest.mark.faults]

CHILDREN = 12
MOVES = "rename,renameat,renameat2,link,linkat,unlink,unlinkat,rmdir,symlink,symlinkat"
EVERYTHING = f"{MOVES},openat,mkdir,mkdirat,write,pwrite64,writev,ftruncate,fsync,fdatasync,fchmod,fchown,close"
# Children that were killed leave their images to others after five seconds, see tasks/waits.py.
RETRIED_SECONDS = 60

Kill = tuple[str, int]


def photo(number: int) -> bytes:
    return image_bytes(width=400 + number, height=300)


def start_children(make_thumbdrop: MakeThumbdrop) -> Thumbdrop:
    """Everything with a dozen worker children, none of which has anything to do."""
    thumbdrop = make_thumbdrop(f'{SETTINGS}\n[limits]\ntask_time = "30s"\n')
    up = thumbdrop.start("up", "--workers", str(CHILDREN))
    for job in ("sweep", "expire"):
        up.wait_for(f"housekeeping.{job}")
    return thumbdrop


def children(thumbdrop: Thumbdrop) -> list[int]:
    def all_there() -> list[int]:
        found = thumbdrop.pids().get("worker child", [])
        return found if len(found) == CHILDREN else []

    return wait_until(all_there, f"there are {CHILDREN} children", 20)


def kills_of(thumbdrop: Thumbdrop, calls: str) -> list[Kill]:
    """Every call of those that one undisturbed ingest makes: its name, and the how manieth of that name it is."""
    thumbdrop.drop("first/photo.jpg", photo(0))
    thumbdrop.wait_done(1)
    traced = [Attached(pid, calls, thumbdrop.folder / f"seen-{pid}") for pid in children(thumbdrop)]
    thumbdrop.drop("second/photo.jpg", photo(1))
    thumbdrop.wait_done(2)
    for one in traced:
        one.detach()
    (seen,) = [one.text for one in traced if "manifests" in one.text]
    counts = Counter(re.findall(r"^\d+ +(\w+)\(", seen, re.MULTILINE))
    return [(call, number + 1) for call, count in counts.items() for number in range(count)]


def kill_some(thumbdrop: Thumbdrop, kills: list[Kill], photos: dict[str, bytes]) -> set[Kill]:
    """Let each child die at one of the kills, some at the same one; which of them happened, once every image is done."""
    folder = thumbdrop.folder
    each = zip(cycle(kills), children(thumbdrop), strict=False)
    traced = [(kill, kill_at(pid, *kill, folder / f"killed-{pid}")) for kill, pid in each]
    before = len(photos)
    for number in range(before, before + CHILDREN):
        name = f"{number}/photo.jpg"  # each makes folders of its own, as the second one did
        photos[name] = photo(number)
        thumbdrop.drop(name, photos[name])

    def all_tried() -> bool:
        return sum(one.has_ended for _, one in traced) + len(thumbdrop.manifests()) - before >= CHILDREN

    wait_until(all_tried, "each was done or its child was killed", RETRIED_SECONDS)
    assert_whole(thumbdrop, photos)
    assert_told(thumbdrop)
    thumbdrop.wait_done(len(photos), seconds=RETRIED_SECONDS)
    for _, one in traced:
        one.detach()
    return {kill for kill, one in traced if "killed by SIGKILL" in one.text}


def assert_told(thumbdrop: Thumbdrop) -> None:
    """What has lost its child waits for another one or is with it already, by what `why` says; perhaps it is done by now."""
    for name in thumbdrop.standing()[:1]:
        story = thumbdrop.command("why", f"inbox/{name}", "--json").json
        assert story["state"] in {"retrying", "in_flight", "due", "done"}, story
        if story["state"] == "retrying":
            assert story["reason"] == "lost_worker"
            assert story["attempts"] >= 1
            assert "SIGKILL" in story["story"][0]


def assert_whole(thumbdrop: Thumbdrop, photos: Mapping[str, bytes]) -> None:
    """In the middle of it all: what can be seen is whole, and each photo stands in the inbox or in the archive."""
    manifests = thumbdrop.manifests()
    for manifest in manifests.values():
        for thumbnail in manifest["thumbnails"]:
            assert path_in(thumbdrop.library, thumbnail, "path").stat().st_size == thumbnail["size_bytes"]
    standing = _contents(thumbdrop.inbox)  # before the archive, into which they go
    archived = _contents(thumbdrop.library / "originals")
    assert archived <= set(photos.values())
    assert standing | archived | _contents(thumbdrop.library / "originals") >= set(photos.values())


def _contents(root: Path) -> set[bytes]:
    found = set()
    for file in visible_files(root):
        try:
            found.add(file.read_bytes())
        except FileNotFoundError:
            continue  # moved meanwhile
    return found


@pytest.mark.slow
@pytest.mark.timeout(150)
def test_a_child_killed_at_any_rename_link_or_unlink_of_an_ingest_leaves_it_whole_and_to_another(
    make_thumbdrop: MakeThumbdrop,
) -> None:
    thumbdrop = start_children(make_thumbdrop)
    left = kills_of(thumbdrop, MOVES)
    assert len(left) >= 8, left
    photos = {"first/photo.jpg": photo(0), "second/photo.jpg": photo(1)}
    for _ in range(4):  # a child that had nothing to do lives: its turn comes in the next round
        killed = kill_some(thumbdrop, left[:CHILDREN], photos)
        left = [kill for kill in left if kill not in killed]
        if not left:
            break
    assert not left
    assert_complete(thumbdrop, photos)
    assert "reason=lost_worker" in thumbdrop.running[0].text
    status = thumbdrop.command("status", "--json").json
    assert (status["problems"], status["inboxes"][0]["put_off"]) == ([], [])
    assert thumbdrop.command("why", f"inbox/{list(photos)[-1]}", "--json").json["state"] == "done"


@pytest.mark.slow
@pytest.mark.every_syscall
@pytest.mark.timeout(1800)
def test_a_child_killed_at_any_call_of_an_ingest_that_touches_the_disk_leaves_it_whole_and_to_another(
    make_thumbdrop: MakeThumbdrop,
) -> None:
    thumbdrop = start_children(make_thumbdrop)
    left = kills_of(thumbdrop, EVERYTHING)
    photos = {"first/photo.jpg": photo(0), "second/photo.jpg": photo(1)}
    while left:
        now, left = left[:CHILDREN], left[CHILDREN:]
        killed = kill_some(thumbdrop, now, photos)
        if len(killed) > 1:  # else those are calls that only the first image of a child needs, to load modules
            left += [kill for kill in now if kill not in killed]
    assert_complete(thumbdrop, photos)
