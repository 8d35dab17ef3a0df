"""Polled inboxes, files that stay or are deleted, several inboxes with category rules, and sizes of every kind."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from images import encoded, exif, image_bytes, photo
from running import SETTINGS, MakeThumbdrop, Thumbdrop, assert_complete, source_path, thumbdrops, visible_files
from servers import RedisServer
from waiting import wait_until

STORES = '\n[broker]\nurl = "{0.broker_url}"\n[results]\nurl = "{0.results_url}"\n[watcher]\nrescan = "1s"\n'


@pytest.fixture
def redis(redis_server: RedisServer) -> RedisServer:
    """The private Redis, empty."""
    redis_server.flush()
    return redis_server


@contextmanager
def messages(redis: RedisServer) -> Iterator[list[str]]:
    """Every message that is put into the worker's queue meanwhile, as Redis hears it; complete after the block."""
    heard: list[str] = []
    with redis.client() as client, client.monitor() as monitor:
        yield heard
        with redis.client() as other:
            other.echo("the end of the block")
        for line in monitor.listen():
            if "the end of the block" in line["command"]:
                return
            if line["command"].startswith("LPUSH thumbdrop "):
                heard.append(line["command"])


def counts(redis: RedisServer) -> dict[str, int]:
    with redis.client(1) as client:
        found: Any = client.hgetall("thumbdrop:counts")
    return {name: int(number) for name, number in found.items()}


def last_scan(redis: RedisServer) -> float:
    """When the last scan of the inbox ended, by what its watcher reports; 0 when none did."""
    with redis.client(1) as client:
        report: Any = client.get("thumbdrop:report:inbox")
    return float(json.loads(report or "{}").get("scan", {}).get("finished_at") or 0)


def wait_for_two_scans(redis: RedisServer) -> None:
    """Wait until a scan that began after now has ended; two are a second apart, and reports two seconds."""
    for _ in range(2):
        before = last_scan(redis)

        def has_ended(before: float = before) -> bool:
            return last_scan(redis) > before + 0.5

        wait_until(has_ended, "another scan has ended", 30)


def identities(root: Path) -> dict[Path, tuple[int, int, int]]:
    """Every file below `root`, hidden ones too but not those of the state directory, by inode, mtime and size."""
    found = [file for file in root.rglob("*") if file.is_file() and ".thumbdrop" not in file.parts]
    return {file: (file.stat().st_ino, file.stat().st_mtime_ns, file.stat().st_size) for file in found}


def test_a_polled_inbox_is_emptied_as_a_watched_one_is(make_thumbdrop: MakeThumbdrop) -> None:
    thumbdrop = make_thumbdrop(SETTINGS.replace("settle", 'watch = "poll"\nsettle'))
    content = {"a/one.jpg": image_bytes(), "two.png": image_bytes("png")}
    thumbdrop.drop("a/one.jpg", content["a/one.jpg"])
    thumbdrop.start("up", "--workers", "1")
    thumbdrop.copy("two.png", content["two.png"])
    thumbdrop.wait_done(2)

    assert_complete(thumbdrop, content)
    (inbox,) = thumbdrop.command("status", "--json").json["inboxes"]
    assert (inbox["backend"], inbox["watches"]) == ("poll", 0)


def test_kept_files_stay_as_they_are_and_are_done_once(make_thumbdrop: MakeThumbdrop, redis: RedisServer) -> None:
    settings = SETTINGS.replace("settle", 'after = "keep"\nsettle') + STORES.format(redis)
    thumbdrop = make_thumbdrop(settings)
    thumbdrop.library.mkdir()
    photos = {f"{n}/photo.jpg": image_bytes(width=300 + n) for n in range(4)}
    content = {**photos, "no-image.jpg": b"This is a text.\n"}
    for name, one in content.items():
        thumbdrop.drop(name, one)
    in_inbox = identities(thumbdrop.inbox)
    thumbdrop.start("worker", "--concurrency", "2")
    with messages(redis) as first:
        watcher = thumbdrop.start("watch")
        thumbdrop.wait_done(4, left=5)
        thumbdrop.wait_quarantined(1)
        wait_until(lambda: counts(redis) == {"done": 4, "quarantined": 1}, "all outcomes are counted")
    assert len(first) == 5
    in_library = identities(thumbdrop.library)

    # A second scan, one on request, and a new watcher have nothing to publish.
    with messages(redis) as second:
        wait_for_two_scans(redis)
        assert thumbdrop.command("scan", "--wait").code == 0
        watcher.process.terminate()
        assert watcher.wait() == 0
        thumbdrop.start("watch")
        wait_for_two_scans(redis)
    assert second == []

    # A Redis that forgot everything is told again, once, and nothing is made anew.
    with messages(redis) as third:
        redis.flush()
        wait_until(lambda: counts(redis) == {"duplicate": 4, "quarantined": 1}, "all were looked at again", 30)
        wait_for_two_scans(redis)
    assert len(third) == 5
    assert counts(redis) == {"duplicate": 4, "quarantined": 1}
    assert identities(thumbdrop.library) == in_library
    assert identities(thumbdrop.inbox) == in_inbox
    assert {name: (thumbdrop.inbox / name).read_bytes() for name in content} == content
    assert {source_path(one): one["original"] for one in thumbdrop.manifests().values()} == dict.fromkeys(photos)
    assert not list(thumbdrop.library.glob("originals/*"))
    assert visible_files(thumbdrop.library / "quarantine") == [
        thumbdrop.library / "quarantine" / "inbox" / "no-image.jpg.reason.json"
    ]


def test_deleted_files_leave_thumbnails_and_no_original(make_thumbdrop: MakeThumbdrop) -> None:
    thumbdrop = make_thumbdrop(SETTINGS.replace("settle", 'after = "delete"\nsettle'))
    thumbdrop.start("up", "--workers", "1")
    thumbdrop.drop("a/photo.jpg", image_bytes())
    thumbdrop.wait_done(1)

    (manifest,) = thumbdrop.manifests().values()
    assert manifest["original"] is None
    assert visible_files(thumbdrop.library) == [
        thumbdrop.library / "manifests/a/photo.json",
        thumbdrop.library / "thumbnails/a/320x320/photo_320x320.jpg",
        thumbdrop.library / "thumbnails/a/96x96/photo_96x96.jpg",
    ]


RULES = """\
[[inbox]]
path = "inbox"
name = "studio"
settle = "300ms"
[[inbox]]
path = "cards"
settle = "300ms"

[library]
path = "library"
min_free = "1MB"

[thumbnails]
sizes = ["200x200", { size = "120x60", fit = "cover", format = "webp", quality = 70 }, { size = "64x64", format = "avif" },
         { size = "50x50", fit = "cover", format = "png" }]

[[category.rule]]
name = "scans"
path = "scans/*"
[[category.rule]]
name = "pictures/{format}"
format = "png"
[[category.rule]]
name = "phones/{year}"
camera = "*iPhone*"
[[category.rule]]
name = "old"
taken_before = "2000-01-01"
[[category.rule]]
name = "large"
min_width = 1500
[[category.rule]]
name = "upright"
orientation = "portrait"
inbox = "studio"
[[category.rule]]
name = "cards/{folder}"
inbox = "cards"
"""
# (inbox, path) -> (content, category); each but the last is in the way of the rule after its own.
SORTED: Mapping[tuple[str, str], tuple[bytes, str]] = {
    ("studio", "scans/one.png"): (image_bytes("png", 200, 100), "scans"),
    ("studio", "one.png"): (image_bytes("png", 201, 100), "pictures/png"),
    ("cards", "dcim/one.jpg"): (
        encoded(photo(300, 200), exif=exif(make="Apple", model="iPhone 12", taken="1999:05:06 07:08:09")),
        "phones/1999",
    ),
    ("studio", "one.jpg"): (encoded(photo(1600, 100), exif=exif(taken="1999:12:31 23:59:59")), "old"),
    ("cards", "two.jpg"): (encoded(photo(1600, 1700), exif=exif(taken="2000:01:01 00:00:00")), "large"),
    # Lies on its side: only upright it is a portrait.
    ("studio", "three.jpg"): (encoded(photo(300, 200), exif=exif(orientation=6)), "upright"),
    ("cards", "three.jpg"): (encoded(photo(301, 200), exif=exif(orientation=6)), "uncategorized"),
    ("cards", "dcim/four.jpg"): (image_bytes(width=302), "cards/dcim"),
    ("studio", "holiday/four.jpg"): (image_bytes(width=303), "holiday"),
}


@pytest.fixture(scope="module")
def sorted_library(installed_program: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Thumbdrop]:
    """Two inboxes in which equal names stand, sorted by rules into one library with four kinds of thumbnails."""
    with thumbdrops(installed_program, tmp_path_factory.mktemp("sorted")) as make:
        thumbdrop = make(RULES)
        inboxes = {"studio": thumbdrop.inbox, "cards": thumbdrop.folder / "cards"}
        inboxes["cards"].mkdir()
        thumbdrop.start("up", "--workers", "2", until=("watcher.ready", "worker.ready"))
        for (inbox, path), (content, _) in SORTED.items():
            thumbdrop.drop(path, content, inboxes[inbox])
        wait_until(lambda: len(thumbdrop.manifests()) == len(SORTED), "all are done", 60, every=0.1)
        wait_until(lambda: not any(visible_files(root) for root in inboxes.values()), "the inboxes are empty")
        yield thumbdrop


def test_rules_send_the_images_of_two_inboxes_into_their_folders(sorted_library: Thumbdrop) -> None:
    found = {
        (one["source"]["inbox"], source_path(one)): (slot.rpartition("/")[0], one["category"])
        for slot, one in sorted_library.manifests().items()
    }
    assert found == {source: (category, category) for source, (_, category) in SORTED.items()}
    for one in sorted_library.manifests().values():
        content, category = SORTED[one["source"]["inbox"], source_path(one)]
        original = sorted_library.library / one["original"]
        assert original.read_bytes() == content
        assert original.parent == sorted_library.library / "originals" / category


def test_every_size_has_its_own_fit_format_and_folder(sorted_library: Thumbdrop) -> None:
    image = sorted_library.manifests()["upright/three"]
    assert (image["image"]["width"], image["image"]["height"]) == (200, 300)
    found = {}
    for one in image["thumbnails"]:
        with Image.open(sorted_library.library / one["path"]) as picture:
            picture.load()
            found[one["path"]] = (one["box"], picture.format, picture.size)
    folder = "thumbnails/upright"
    assert found == {
        f"{folder}/200x200/three_200x200.jpg": ("200x200", "JPEG", (133, 200)),
        f"{folder}/120x60/three_120x60.webp": ("120x60", "WEBP", (120, 60)),
        f"{folder}/64x64/three_64x64.avif": ("64x64", "AVIF", (43, 64)),
        f"{folder}/50x50/three_50x50.png": ("50x50", "PNG", (50, 50)),
    }


def test_equal_names_in_two_inboxes_are_two_stories(sorted_library: Thumbdrop) -> None:
    for inbox, category in (("inbox", "upright"), ("cards", "uncategorized")):
        said = sorted_library.command("why", f"{inbox}/three.jpg", "--json")
        assert said.code == 0
        assert category in said.text
