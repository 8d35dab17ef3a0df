"""What `why` and `status` tell where names collide and where a photo is damaged: of each file its own story, by any name of it."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from images import encoded, exif, image_bytes, photo
from running import SETTINGS, MakeThumbdrop, Thumbdrop, assert_complete, path_in, source_path, thumbdrops
from waiting import wait_until

pytestmark = [pytest.mark.faults, pytest.mark.timeout(90)]

RULES = """
[[category.rule]]
name = "cameras/{camera}"
camera = "*"
[[category.rule]]
name = "merged"
path = "merge*/*"
"""
LONG = "n" * 250
NAMES = (
    "a.jpg",
    "a.png",
    "merge1/same.jpg",
    "merge2/same.jpg",
    f"{LONG}1.jpg",
    f"{LONG}2.jpg",
    "case.jpg",
    "Case.jpg",
    "caf\u00e9.jpg",
    "cafe\u0301.jpg",
    "camera.jpg",
)
CAMERA = "../../etc/X \x1b[31m"


@dataclass(frozen=True)
class Scene:
    """A Thumbdrop that has done all of NAMES."""

    thumbdrop: Thumbdrop
    dropped: dict[str, bytes]


@pytest.fixture(scope="module")
def scene(installed_program: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with thumbdrops(installed_program, tmp_path_factory.mktemp("stories")) as make:
        thumbdrop = make(SETTINGS + RULES)
        dropped = {name: content_of(number, name) for number, name in enumerate(NAMES)}
        for name, content in dropped.items():
            thumbdrop.drop(name, content)
        thumbdrop.start("up", "--workers", "2")
        thumbdrop.wait_done(len(NAMES))
        yield Scene(thumbdrop, dropped)


def content_of(number: int, name: str) -> bytes:
    """A picture of its own for each name; one of them says that a hostile camera made it."""
    tags = {"exif": exif(model=CAMERA)} if name == "camera.jpg" else {}
    return encoded(photo(200 + number, 150), "png" if name.endswith("png") else "jpeg", **tags)


def why(thumbdrop: Thumbdrop, path: str | Path) -> dict[str, Any]:
    return dict(thumbdrop.command("why", os.fsencode(path), "--json").json)


def manifest_of(thumbdrop: Thumbdrop, name: str) -> dict[str, Any]:
    (manifest,) = (one for one in thumbdrop.manifests().values() if source_path(one) == name)
    return manifest


@pytest.mark.parametrize("name", NAMES)
def test_each_of_the_names_that_collide_has_a_story_of_its_own(scene: Scene, name: str) -> None:
    assert_told(scene, name, f"inbox/{name}")


@pytest.mark.parametrize("name", ["merge1/same.jpg", "merge2/same.jpg"])
def test_a_story_is_found_by_the_thumbnail_and_by_the_original_too(scene: Scene, name: str) -> None:
    manifest = manifest_of(scene.thumbdrop, name)
    for record, key in ((manifest, "original"), (manifest["thumbnails"][0], "path")):
        assert_told(scene, name, path_in(scene.thumbdrop.library, record, key))


def assert_told(scene: Scene, name: str, place: str | Path) -> None:
    """Ask for the story by that place; it is the one of that name, with its own bytes in the archive."""
    story = why(scene.thumbdrop, place)
    assert (story["state"], story["source"]) == ("done", name)
    assert Path(story["original"]).read_bytes() == scene.dropped[name]


def test_the_library_and_status_agree_that_all_that_collided_is_done(scene: Scene) -> None:
    assert_complete(scene.thumbdrop, scene.dropped)
    status = scene.thumbdrop.command("status", "--json").json
    assert (status["counts"], status["problems"]) == ({"done": len(NAMES)}, [])


def test_the_same_name_again_tells_of_both_files_and_of_a_duplicate_once(make_thumbdrop: MakeThumbdrop) -> None:
    thumbdrop = make_thumbdrop()
    thumbdrop.start("up", "--workers", "1")
    first, second = (image_bytes(width=width) for width in (240, 260))
    for number, content in enumerate([first, first, second], 1):
        thumbdrop.drop("same.jpg", content)
        wait_until(lambda number=number: sum(counts(thumbdrop).values()) == number, "it ended", 20)  # type: ignore[misc]
    assert counts(thumbdrop) == {"done": 2, "duplicate": 1}
    story = why(thumbdrop, "inbox/same.jpg")
    assert (story["state"], story["source"]) == ("done", "same.jpg")
    assert Path(story["original"]).read_bytes() == second, "the newest comes first"
    earlier = [line for line in story["story"] if line.startswith("another file of that name was done")]
    assert len(earlier) == 1
    assert thumbdrop.command("status", "--json").json["problems"] == []


def counts(thumbdrop: Thumbdrop) -> dict[str, int]:
    return dict(thumbdrop.command("status", "--json").json["counts"])


@pytest.mark.parametrize("policy", ["quarantine", "accept"])
def test_a_photo_damaged_in_its_middle_is_told_as_the_policy_has_it(make_thumbdrop: MakeThumbdrop, policy: str) -> None:
    thumbdrop = make_thumbdrop(f'{SETTINGS}\n[limits]\ndamaged = "{policy}"\n')
    thumbdrop.start("up", "--workers", "1")
    content = encoded(photo(1200, 900), "jpeg", quality=92)
    middle = len(content) // 2
    thumbdrop.drop("damaged.jpg", content[:middle] + content[middle + 4096 :])
    if policy == "accept":
        thumbdrop.wait_done(1)
        (manifest,) = thumbdrop.manifests().values()
        assert manifest["image"]["damaged"] is True
        assert counts(thumbdrop) == {"done": 1, "damaged": 1}
        assert "1 of them damaged and accepted as such" in " ".join(thumbdrop.command("status").text.split())
        assert why(thumbdrop, "inbox/damaged.jpg")["state"] == "done"
    else:
        thumbdrop.wait_quarantined(1)
        wait_until(lambda: thumbdrop.standing() == [], "the file has followed its reason")
        story = why(thumbdrop, "inbox/damaged.jpg")
        assert (story["state"], story["reason"]) == ("quarantined", "corrupt")
        assert "damaged" in " ".join(story["story"])
    assert thumbdrop.command("status", "--json").json["problems"] == []
