"""The main job, as a stranger meets it: no settings, `thumbdrop up`, photos copied in, thumbnails in the library."""

import os
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageChops, ImageStat

from images import image_bytes, oriented, photo
from running import MakeThumbdrop, Thumbdrop, assert_complete, source_path
from waiting import wait_until

# Those of config/thumbdrop.toml.
DEFAULT_BOXES = {"1280x1280": (1280, 1280), "640x640": (640, 640), "200x200": (200, 200)}

CORPUS = {
    "holiday/bus.jpg": "jpeg-test-images/012mp-bus.jpg",
    "holiday/cathedral.jpg": "jpeg-test-images/006mp-cathedral.jpg",
    "holiday/sea/phone.JPG": "image-rs/examples/scaledown/test.jpg",
    "pug.heic": "pillow_heif/tests/images/heif_other/pug.heic",
    "page.png": "sharp/test/fixtures/50020484-00001.png",
    "tree.webp": "sharp/test/fixtures/4.webp",
    **{f"turned/Landscape_{n}.jpg": f"exif-orientation-examples/Landscape_{n}.jpg" for n in (1, 3, 5, 6, 7, 8)},
}


@dataclass(frozen=True)
class Photos:
    """Twelve photos by their path below the inbox, and which of them show the same picture when upright."""

    content: Mapping[str, bytes]
    same_picture: tuple[str, ...]

    @property
    def some(self) -> list[str]:
        """Three of them; asking for each takes half a second."""
        return sorted(self.content)[::4]


def real_photos(corpus: Path) -> Photos:
    content = {name: (corpus / path).read_bytes() for name, path in CORPUS.items()}
    return Photos(content, tuple(name for name in content if name.startswith("turned/")))


def made_photos() -> Photos:
    kinds = {
        "a/one.jpg": "jpeg",
        "a/two.png": "png",
        "b/c/three.webp": "webp",
        "four.heic": "heic",
        "five.avif": "avif",
    }
    content = {name: image_bytes(kind, 1600, 1000) for name, kind in kinds.items()}
    turned = {f"turned/way {n}.jpg": oriented(photo(1500, 900), n, quality=92) for n in (1, 2, 3, 4, 5, 6, 8)}
    return Photos(content | turned, tuple(turned))


@pytest.fixture(params=["real", "made"])
def photos(request: pytest.FixtureRequest) -> Photos:
    return real_photos(request.getfixturevalue("corpus")) if request.param == "real" else made_photos()


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_photos_copied_into_the_inbox_become_thumbnails_and_status_and_why_tell_the_truth_all_along(
    make_thumbdrop: MakeThumbdrop, photos: Photos
) -> None:
    thumbdrop = make_thumbdrop(None)
    up = thumbdrop.start("up")
    assert_nothing_has_happened_yet(thumbdrop, photos)
    with standing_still(thumbdrop, "worker", "worker child"):
        with (thumbdrop.inbox / "unfinished.jpg").open("wb") as upload:
            upload.write(b"\xff\xd8")
            upload.flush()
            for name, content in photos.content.items():
                thumbdrop.copy(name, content)
            assert_all_but_the_unfinished_wait_for_a_worker(thumbdrop, photos)
        (thumbdrop.inbox / "unfinished.jpg").unlink()
    thumbdrop.wait_done(12, seconds=90)
    assert_complete(thumbdrop, photos.content, DEFAULT_BOXES)
    assert_each_stands_in_the_folder_of_its_category(thumbdrop, photos)
    assert_all_look_alike(thumbdrop, photos.same_picture)
    assert_all_is_told_as_done(thumbdrop, photos)
    assert "Traceback" not in up.text


def test_a_photo_in_the_hands_of_a_worker_is_told_so(make_thumbdrop: MakeThumbdrop) -> None:
    thumbdrop = make_thumbdrop()
    thumbdrop.start("up")
    content = image_bytes("webp", 3000, 2000)
    numbers = iter(range(1000))

    def is_caught_in_the_act() -> bool:
        """Stop the workers at a random moment; look who has been caught; let them go on."""
        thumbdrop.drop(f"{next(numbers)}.webp", content)
        with standing_still(thumbdrop, "worker child"):
            (inbox,) = status(thumbdrop)["inboxes"]
            stories = [why(thumbdrop, name) for name in thumbdrop.standing()]
        working = [story for story in stories if story.get("lease") == "working"]
        assert len(working) == inbox["working"]
        assert all(story["state"] == "in_flight" for story in working)
        return bool(working)

    wait_until(is_caught_in_the_act, "a worker is stopped while it has a photo in its hands", 45)
    thumbdrop.wait_done(next(numbers))


# -- before, during, after


def assert_nothing_has_happened_yet(thumbdrop: Thumbdrop, photos: Photos) -> None:
    """It may take the watcher a moment to report; no other one was ever there."""
    told = status(thumbdrop)
    assert told["inboxes"][0]["state"] in {"unwatched", "watching"}
    told = wait_until(lambda: (s := status(thumbdrop))["inboxes"][0]["watcher"] and s, "the watcher reports", 30)
    assert told["problems"] == []
    assert told["counts"] == {}
    assert told["quarantined_now"] == 0
    (inbox,) = told["inboxes"]
    assert (inbox["state"], inbox["waiting"], inbox["published"], inbox["working"]) == ("watching", 0, 0, 0)
    assert inbox["path"] == str(thumbdrop.inbox)
    assert why(thumbdrop, photos.some[0])["state"] == "unknown"


def assert_all_but_the_unfinished_wait_for_a_worker(thumbdrop: Thumbdrop, photos: Photos) -> None:
    """While no worker moves: twelve photos are published, and the one that somebody still writes is not."""
    deadline = time.monotonic() + 60
    while (told := status(thumbdrop))["inboxes"][0]["published"] < 12:
        assert time.monotonic() < deadline, f"the whole photos are not all published: {told}"
    (inbox,) = told["inboxes"]
    assert (inbox["waiting"], inbox["published"], inbox["working"]) == (13, 12, 0)
    assert told["problems"] == ["no worker answers"]
    assert told["counts"] == {}
    for name in photos.some:
        story = why(thumbdrop, name)
        assert (story["state"], story["lease"]) == ("in_flight", "published")
    unfinished = why(thumbdrop, "unfinished.jpg")
    assert (unfinished["state"], unfinished["settle_why"]) == ("settling", "writer")


def assert_all_is_told_as_done(thumbdrop: Thumbdrop, photos: Photos) -> None:
    told = status(thumbdrop)
    assert told["problems"] == []
    assert told["counts"] == {"done": 12}
    (inbox,) = told["inboxes"]
    assert (inbox["waiting"], inbox["published"], inbox["working"]) == (0, 0, 0)
    manifests = {source_path(manifest): manifest for manifest in thumbdrop.manifests().values()}
    for name in photos.some:
        story = why(thumbdrop, name)
        assert (story["state"], story["source"]) == ("done", name)
        assert story["original"] == str(thumbdrop.library / manifests[name]["original"])
        assert sorted(story["thumbnails"]) == sorted(
            str(thumbdrop.library / thumbnail["path"]) for thumbnail in manifests[name]["thumbnails"]
        )


def status(thumbdrop: Thumbdrop) -> dict[str, Any]:
    said = thumbdrop.command("status", "--json")
    document: dict[str, Any] = said.json
    assert said.code == (1 if document["problems"] else 0)
    return document


def why(thumbdrop: Thumbdrop, name: str) -> dict[str, Any]:
    story: dict[str, Any] = thumbdrop.command("why", f"inbox/{name}", "--json").json
    return story


@contextmanager
def standing_still(thumbdrop: Thumbdrop, *parts: str) -> Iterator[None]:
    """Keep all processes of these parts from running."""
    pids = [pid for part in parts for pid in thumbdrop.pids()[part]]
    try:
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


# -- what stands in the library


def assert_each_stands_in_the_folder_of_its_category(thumbdrop: Thumbdrop, photos: Photos) -> None:
    """The category is by default the first folder below the inbox; the names are those of README's figure."""
    for name in photos.content:
        *folders, file_name = name.split("/")
        category = folders[0] if folders else "uncategorized"
        stem, suffix = os.path.splitext(file_name)
        for box in DEFAULT_BOXES:
            assert (thumbdrop.library / "thumbnails" / category / box / f"{stem}_{box}.jpg").is_file()
        assert (thumbdrop.library / "originals" / category / f"{stem}{suffix}").read_bytes() == photos.content[name]
        assert (thumbdrop.library / "manifests" / category / f"{stem}.json").is_file()


def assert_all_look_alike(thumbdrop: Thumbdrop, names: tuple[str, ...]) -> None:
    """Assert that photos of one picture, stored in different orientations, have the same thumbnails."""
    for box in DEFAULT_BOXES:
        pictures = [_thumbnail(thumbdrop, name, box) for name in names]
        for name, picture in zip(names, pictures, strict=True):
            assert picture.size == pictures[0].size, (name, box)
            assert difference(picture, pictures[0]) < 4, (name, box)
        upside_down = pictures[0].transpose(Image.Transpose.ROTATE_180)
        assert difference(upside_down, pictures[0]) > 20, "the picture is too regular for this test"


def _thumbnail(thumbdrop: Thumbdrop, name: str, box: str) -> Image.Image:
    category, _, file_name = name.partition("/")
    stem = os.path.splitext(file_name)[0]
    with Image.open(thumbdrop.library / "thumbnails" / category / box / f"{stem}_{box}.jpg") as picture:
        return picture.convert("RGB")


def difference(one: Image.Image, other: Image.Image) -> float:
    """How much two pictures of the same size differ on average, of 255."""
    channels = ImageStat.Stat(ImageChops.difference(one, other)).mean
    return sum(channels) / len(channels)
