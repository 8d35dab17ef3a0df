"""Hostile and odd files, all at once among good photos: each ends as the design says, and the line goes on.

One Thumbdrop for all these tests. They stand in the order of its story and each leaves what the next one expects.
"""

import os
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from images import image_bytes, png_bomb, truncated
from running import SETTINGS, Running, Said, Thumbdrop, path_in, source_path, thumbdrops, visible_files
from waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

QUICK = (
    SETTINGS
    + """
[watcher]
rescan = "1s"

[limits]
empty_grace = "1s"
truncated_grace = "15s"
"""
)
PHOTO = image_bytes(width=640, height=480)
# Names that a terminal would obey, that no text can hold, that hide what they are; the folder's is one of them, too.
ODD_NAMES = (
    b"two\nlines.jpg",
    b"\x1b[31mred\x1b[0m\x1b]0;title\x07.jpg",
    b"caf\xe9.jpg",
    b"back\rspace\x08\x7f.jpg",
    "c1\x9b2J.jpg".encode(),
    "gpj.\u202egpj.jpg".encode(),
    b"dir\n\x1b[2J/inside.jpg",
)
GOOD_NAMES = (b"first.jpg", b"holiday/second.jpg", *ODD_NAMES)
# No images, under names that are no better; `why`, `retry` and `drop` must find each.
ODD_BAD_NAMES = (b"bad\nname.jpg", b"bad\x1b[31m.jpg", b"bad\xff.jpg")
BAD_NAMES = (b"text.jpg", b"bomb.png", b"empty.jpg", *ODD_BAD_NAMES)
NO_FILES = ["fifo.jpg", "link.jpg", "linked folder"]


@dataclass(frozen=True)
class Scene:
    """A running Thumbdrop with everything dropped, and what lies outside of its inbox."""

    thumbdrop: Thumbdrop
    up: Running
    secret: Path
    secret_folder: Path
    secret_stat: os.stat_result


@pytest.fixture(scope="module")
def scene(installed_program: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with thumbdrops(installed_program, tmp_path_factory.mktemp("hostile")) as make_thumbdrop:
        yield set_up(make_thumbdrop(QUICK))


def set_up(thumbdrop: Thumbdrop) -> Scene:
    secret_folder = thumbdrop.folder / "outside"
    secret_folder.mkdir()
    secret = secret_folder / "secret.jpg"
    secret.write_bytes(PHOTO + b"secret")
    up = thumbdrop.start("up", "--workers", "2")

    os.mkfifo(thumbdrop.inbox / "fifo.jpg")
    (thumbdrop.inbox / "link.jpg").symlink_to(secret)
    (thumbdrop.inbox / "linked folder").symlink_to(secret_folder)
    thumbdrop.copy(b"text.jpg", b"Dear uploader, this is no photo.\n" * 40)
    thumbdrop.copy(b"empty.jpg", b"")
    thumbdrop.copy(b"bomb.png", png_bomb())
    for number, name in enumerate(ODD_BAD_NAMES):
        thumbdrop.copy(name, b"no photo, number %d" % number)
    for name in GOOD_NAMES:
        thumbdrop.copy(name, photo_of(name))
    scene = Scene(thumbdrop, up, secret, secret_folder, secret.stat())
    thumbdrop.wait_quarantined(len(BAD_NAMES))
    wait_until(lambda: len(thumbdrop.manifests()) == len(GOOD_NAMES), "all good photos are done", 60)
    wait_until(lambda: thumbdrop.standing() == NO_FILES, f"{NO_FILES} alone are left", 60)
    for name in (b"cut.jpg", b"resumed.jpg"):  # last, because their half minute of waiting begins here
        thumbdrop.copy(name, truncated(photo_of(name)))
    return scene


@pytest.fixture(autouse=True)
def _output(scene: Scene) -> Iterator[None]:
    yield
    scene.thumbdrop.print_output()  # pytest shows it for a test that failed


def photo_of(name: bytes) -> bytes:
    """A photo that no other name has: the name stands behind its end."""
    return PHOTO + name


def why(scene: Scene, name: bytes) -> dict[str, Any]:
    story: dict[str, Any] = scene.thumbdrop.command("why", b"inbox/" + name, "--json").json
    return story


def finding(scene: Scene, name: bytes) -> dict[str, Any]:
    """The reason file about a file of the inbox."""
    (found,) = (r for r in scene.thumbdrop.reasons().values() if os.fsencode(source_path(r)) == name)
    return found


def quarantined_file(scene: Scene, name: bytes) -> Path:
    return scene.thumbdrop.library / "quarantine" / "inbox" / os.fsdecode(name)


def assert_prints_safely(said: Said | bytes) -> None:
    """Assert that bytes are text without anything that a terminal obeys or that turns text around."""
    for content in (said,) if isinstance(said, bytes) else (said.out, said.err):
        text = content.decode("utf-8", "strict")
        unsafe = {char for char in text if char != "\n" and unicodedata.category(char) in {"Cc", "Cf", "Zl", "Zp"}}
        assert not unsafe, f"{unsafe} in {text!r}"


def assert_is_told_safely(scene: Scene, name: bytes, state: str) -> None:
    """Assert what `why` says about a file, to scripts and to people."""
    assert why(scene, name)["state"] == state
    said = scene.thumbdrop.command("why", b"inbox/" + name)
    assert said.text.startswith(f"{state} "), said.text
    assert_prints_safely(said)


# -- what is cut off


def test_a_truncated_photo_stays_and_why_says_when_it_is_tried_again(scene: Scene) -> None:
    content = photo_of(b"cut.jpg")
    assert (scene.thumbdrop.inbox / "cut.jpg").read_bytes() == truncated(content)
    story = wait_until(lambda: (s := why(scene, b"cut.jpg"))["state"] == "retrying" and s, "cut.jpg was put off", 30)
    assert story["reason"] == "truncated"
    assert story["first_at"] < story["not_before"] < story["first_at"] + 60
    put_off = scene.thumbdrop.command("status", "--json").json["inboxes"][0]["put_off"]
    (waiting,) = (one for one in put_off if one["reason"] == "truncated")
    assert waiting["count"] == 2
    assert waiting["next_try_at"] <= story["not_before"]


def test_a_truncated_photo_that_is_completed_is_done_at_once(scene: Scene) -> None:
    content = photo_of(b"resumed.jpg")
    with (scene.thumbdrop.inbox / "resumed.jpg").open("ab") as upload:
        upload.write(content[len(truncated(content)) :])
    wait_until(lambda: why(scene, b"resumed.jpg")["state"] == "done", "the completed photo is done", 15)
    assert (scene.thumbdrop.library / "originals/uncategorized/resumed.jpg").read_bytes() == content


# -- what is no photo


@pytest.mark.parametrize("name", [b"text.jpg", *ODD_BAD_NAMES])
def test_a_text_file_named_jpg_is_quarantined(scene: Scene, name: bytes) -> None:
    assert finding(scene, name)["reason"] == "not_an_image"
    assert quarantined_file(scene, name).is_file()
    assert_is_told_safely(scene, name, "quarantined")


def test_an_empty_file_is_quarantined_after_its_grace(scene: Scene) -> None:
    assert finding(scene, b"empty.jpg")["reason"] == "empty"
    assert quarantined_file(scene, b"empty.jpg").stat().st_size == 0


def test_a_bomb_is_quarantined_with_its_pixels_and_the_limit(scene: Scene) -> None:
    found = finding(scene, b"bomb.png")
    assert found["reason"] == "too_many_pixels"
    numbers = re.sub(r"(?<=\d)[ _,](?=\d{3})", "", found["message"])
    assert "400000000" in numbers
    assert "250000000" in numbers
    assert quarantined_file(scene, b"bomb.png").read_bytes() == png_bomb()


# -- what is no file


def test_a_link_to_a_file_outside_is_left_alone_and_its_target_untouched(scene: Scene) -> None:
    link = scene.thumbdrop.inbox / "link.jpg"
    assert link.is_symlink()
    assert link.readlink() == scene.secret
    now = scene.secret.stat()
    for fact in ("st_ino", "st_size", "st_mode", "st_uid", "st_nlink", "st_mtime_ns", "st_ctime_ns"):
        assert getattr(now, fact) == getattr(scene.secret_stat, fact)
    assert why(scene, b"link.jpg")["state"] == "not_a_file"


def test_a_link_to_a_directory_is_not_followed(scene: Scene) -> None:
    assert [file.name for file in scene.secret_folder.iterdir()] == ["secret.jpg"]
    assert (scene.thumbdrop.inbox / "linked folder").is_symlink()
    assert why(scene, b"linked folder/secret.jpg")["state"] == "not_a_file"
    assert not any("secret" in str(file) for file in visible_files(scene.thumbdrop.library))


def test_a_fifo_blocks_nobody(scene: Scene) -> None:
    assert (scene.thumbdrop.inbox / "fifo.jpg").is_fifo()
    assert why(scene, b"fifo.jpg")["state"] == "not_a_file"


def test_what_is_no_regular_file_is_counted_as_ignored(scene: Scene) -> None:
    """The link and the FIFO; the linked directory already for its name, which has no image's suffix."""

    def ignored() -> Any:
        return scene.thumbdrop.command("status", "--json").json["inboxes"][0]["ignored"]

    wait_until(lambda: ignored() == {"not_regular": 2, "suffix": 1}, "status counts them", 20)


# -- what has an odd name


@pytest.mark.parametrize("name", GOOD_NAMES)
def test_a_photo_is_done_whatever_it_is_called(scene: Scene, name: bytes) -> None:
    (manifest,) = (m for m in scene.thumbdrop.manifests().values() if os.fsencode(source_path(m)) == name)
    original = path_in(scene.thumbdrop.library, manifest, "original")
    assert original.read_bytes() == photo_of(name)
    assert os.fsencode(original.name) == name.rpartition(b"/")[2]
    assert all(path_in(scene.thumbdrop.library, t, "path").is_file() for t in manifest["thumbnails"])
    assert_is_told_safely(scene, name, "done")


def test_no_command_obeys_or_folds_a_name(scene: Scene) -> None:
    thumbdrop = scene.thumbdrop
    before = len(thumbdrop.reasons())  # cut.jpg may come any moment
    listed = thumbdrop.command("quarantine", "list")
    assert before <= len(listed.text.splitlines()) <= len(thumbdrop.reasons())
    assert_prints_safely(listed)
    for command in (("quarantine", "list", "--json"), ("status",), ("status", "--json"), ("check",)):
        assert_prints_safely(thumbdrop.command(*command))
    missing = [b"no such " + name for name in (*ODD_NAMES, *ODD_BAD_NAMES)]
    said = thumbdrop.command("quarantine", "drop", "--yes", *missing)
    assert said.code == 1
    assert_prints_safely(said)
    assert len(said.err.splitlines()) == len(missing)


# -- what can be done about it


@pytest.mark.parametrize("name", ODD_BAD_NAMES)
def test_retry_puts_a_file_back_under_its_own_name_to_be_tried_again(scene: Scene, name: bytes) -> None:
    thumbdrop = scene.thumbdrop
    content = quarantined_file(scene, name).read_bytes()
    first = finding(scene, name)
    said = thumbdrop.command("quarantine", "retry", b"inbox/" + name)
    assert said.code == 0, said
    assert_prints_safely(said)
    wait_until(
        lambda: any(
            os.fsencode(source_path(r)) == name and r["quarantined_at"] > first["quarantined_at"]
            for r in thumbdrop.reasons().values()
        ),
        "the file was tried again and is back in quarantine",
        20,
    )
    wait_until(quarantined_file(scene, name).exists, "the file has followed its reason")
    assert finding(scene, name)["reason"] == "not_an_image"
    assert quarantined_file(scene, name).read_bytes() == content


@pytest.mark.parametrize("name", ODD_BAD_NAMES)
def test_drop_deletes_a_file_and_its_reason(scene: Scene, name: bytes) -> None:
    said = scene.thumbdrop.command("quarantine", "drop", "--yes", b"inbox/" + name)
    assert said.code == 0, said
    assert_prints_safely(said)
    assert not quarantined_file(scene, name).exists()
    assert not any(os.fsencode(source_path(reason)) == name for reason in scene.thumbdrop.reasons().values())


# -- the end of the story


def test_a_truncated_photo_is_quarantined_when_its_grace_is_over(scene: Scene) -> None:
    wait_until(lambda: quarantined_file(scene, b"cut.jpg").exists(), "cut.jpg is in quarantine", 75)
    assert finding(scene, b"cut.jpg")["reason"] == "truncated"
    assert quarantined_file(scene, b"cut.jpg").read_bytes() == truncated(photo_of(b"cut.jpg"))


def test_after_all_of_it_the_line_goes_on_and_the_log_is_safe(scene: Scene) -> None:
    thumbdrop = scene.thumbdrop
    thumbdrop.drop("last.jpg", photo_of(b"last.jpg"))
    wait_until(lambda: len(thumbdrop.manifests()) == len(GOOD_NAMES) + 2, "one more photo is done", 20)
    wait_until(lambda: thumbdrop.standing() == NO_FILES, f"{NO_FILES} alone are left", 20)
    log = scene.up.output.read_bytes()
    assert_prints_safely(log)
    assert b"Traceback" not in log
    assert b"SIGKILL" not in log
