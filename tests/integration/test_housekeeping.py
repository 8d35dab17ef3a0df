"""Housekeeping: what crashes left is swept when it is old enough, and nothing else is ever touched."""

import os
import time
from pathlib import Path

import pytest

from config.settings import Settings
from ingesting import INBOX, ingest, library_settings, tree_of
from tasks.errors import InputError, Reason
from tasks.housekeeping import expire_quarantine, prune_empty_directories, sweep_claims, sweep_temporaries
from tasks.library import Library
from tasks.messages import Arrival
from tasks.quarantine import Quarantine

HOUR, DAY = 3600.0, 86400.0
TEMPORARY = ".thumbdrop-0123456789abcdef.tmp"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "library"


@pytest.fixture
def library(root: Path, tmp_path: Path) -> Library:
    (tmp_path / "inbox").mkdir()
    (tmp_path / "inbox/photo.jpg").write_bytes(b"photo")
    library = Library(library_settings(root))
    ingest(library, tmp_path / "inbox", "photo.jpg")
    return library


def put(path: Path, content: bytes = b"") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


@pytest.mark.usefixtures("library")
def test_old_temporaries_are_swept_wherever_they_are_and_young_ones_left(root: Path) -> None:
    places = (
        "thumbnails/beach/640x640",
        "originals/beach",
        "manifests/beach",
        "manifests/.by-source/ab",
        "quarantine/inbox",
    )
    before = tree_of(root, hidden=True)
    for place in places:
        put(root / place / TEMPORARY)
    assert sweep_temporaries(root, HOUR, time.time()) == 0
    assert sweep_temporaries(root, HOUR, time.time() + HOUR + 1) == len(places)
    assert tree_of(root, hidden=True) == before


@pytest.mark.usefixtures("library")
def test_the_age_of_a_temporary_is_not_what_a_copied_mtime_says(root: Path) -> None:
    os.utime(put(root / "originals" / TEMPORARY), (0, 0))
    assert sweep_temporaries(root, HOUR, time.time()) == 0


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize(
    "name", ["photo.tmp", ".thumbdrop-x.tmp", ".thumbdrop-0123456789abcdef.tmp.jpg", ".photo.claim", f"{TEMPORARY}\n"]
)
def test_only_our_own_temporaries_are_swept(root: Path, name: str) -> None:
    put(root / "thumbnails" / name)
    assert sweep_temporaries(root, 0, time.time() + DAY) == 0


@pytest.mark.usefixtures("library")
def test_a_link_in_the_tree_is_not_followed(root: Path, tmp_path: Path) -> None:
    outside = put(tmp_path / "outside" / TEMPORARY)
    (root / "thumbnails/link").symlink_to(outside.parent)
    assert sweep_temporaries(root, 0, time.time() + DAY) == 0
    assert outside.exists()


def test_claims_that_nobody_touched_for_a_day_are_dropped(root: Path, library: Library) -> None:
    library.claim("beach", "waiting", "1" * 64)
    assert sweep_claims(root, DAY, time.time() + HOUR) == 0
    assert sweep_claims(root, DAY, time.time() + DAY + 1) == 1
    assert library.claim("beach", "waiting", "2" * 64) == "beach/waiting"
    assert library.manifest("beach/photo") is not None


def test_a_claim_that_is_taken_up_again_begins_a_new_day(root: Path, library: Library) -> None:
    library.claim("beach", "waiting", "1" * 64)
    claim = root / "manifests/beach/.waiting.claim"
    before = claim.stat().st_ctime_ns
    time.sleep(0.02)
    library.claim("beach", "waiting", "1" * 64)
    assert claim.stat().st_ctime_ns > before


@pytest.mark.usefixtures("library")
def test_quarantine_expires_by_age(root: Path) -> None:
    quarantine = Quarantine(Settings.model_construct(library=library_settings(root)))
    why = InputError(Reason.CORRUPT, "broken")
    for name in ("a.jpg", "b.jpg"):
        arrival = Arrival(INBOX, name, 1, 1)
        assert quarantine.put(arrival, None, why, attempts=1, first_seen_at=None, keep=False)
    assert expire_quarantine(quarantine, 90 * DAY, time.time() + 89 * DAY) == 0
    assert expire_quarantine(quarantine, 90 * DAY, time.time() + 91 * DAY) == 2
    assert list(quarantine.entries()) == []


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    inbox = tmp_path / "pruned"
    for folder in ("empty/deep/er", "full", ".hidden/empty", "a/.hidden", os.fsdecode(b"\xff\n")):
        (inbox / folder).mkdir(parents=True)
    put(inbox / "full/photo.jpg")
    return inbox


def test_empty_folders_are_pruned_but_never_the_root_hidden_ones_or_what_is_in_use(inbox: Path) -> None:
    assert prune_empty_directories(inbox, 600, time.time() + 601) == 4
    left = sorted(str(path.relative_to(inbox)) for path in inbox.rglob("*"))
    assert left == [".hidden", ".hidden/empty", "a", "a/.hidden", "full", "full/photo.jpg"]
    (inbox / "full/photo.jpg").unlink()
    for _ in range(3):
        prune_empty_directories(inbox, 0, time.time() + DAY)
    assert inbox.exists()


def test_young_folders_are_left_for_those_who_are_about_to_fill_them(inbox: Path) -> None:
    os.utime(inbox / "empty", (0, 0))
    assert prune_empty_directories(inbox, 600, time.time()) == 0


def test_a_link_to_an_empty_folder_is_left_and_not_followed(inbox: Path, tmp_path: Path) -> None:
    (tmp_path / "outside/empty").mkdir(parents=True)
    (inbox / "link").symlink_to(tmp_path / "outside")
    prune_empty_directories(inbox, 0, time.time() + DAY)
    assert (inbox / "link").is_symlink()
    assert (tmp_path / "outside/empty").exists()


def test_a_missing_root_is_nothing_to_do(tmp_path: Path) -> None:
    away = tmp_path / "away"
    assert sweep_temporaries(away, 0, time.time()) == sweep_claims(away, 0, time.time()) == 0
    assert prune_empty_directories(away, 0, time.time()) == 0
