"""Slots: two different images never end at the same name (invariant 5), whoever comes when."""

import os
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ingesting import INBOX, carried_out, library_settings, manifest_of, renditions_of
from needs import ROOT
from straced import held_at, run_with
from tasks.errors import TransientError
from tasks.library import Library
from tasks.messages import Arrival

ONE, OTHER = "1" * 64, "2" * 64
CLOSE = "1" * 10 + "3" * 54  # shares its first eight digits with ONE


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "library"


@pytest.fixture
def library(root: Path) -> Library:
    return Library(library_settings(root))


def arrival(path: str = "a/photo.jpg", size_bytes: int = 5) -> Arrival:
    return Arrival(INBOX, path, size_bytes, 1_700_000_000_123_456_789)


def commit(library: Library, slot: str, sha256: str, source: Arrival | None = None) -> None:
    carried_out(
        library, library.publish(slot, manifest_of(source or arrival(), sha256), renditions_of(sha256.encode()))
    )


def claims(root: Path) -> list[str]:
    return sorted(path.name for path in root.rglob(".*.claim"))


def test_the_first_content_gets_the_plain_name_and_another_the_name_with_its_hash(library: Library) -> None:
    assert library.claim("beach", "photo", ONE) == "beach/photo"
    assert library.claim("beach", "photo", OTHER) == "beach/photo~22222222"
    assert library.claim("beach", "photo", CLOSE) == "beach/photo~11111111"
    assert library.claim("beach", "photo", "1" * 20 + "4" * 44) == "beach/photo~1111111111111111"


def test_the_same_content_adopts_the_claim_or_the_manifest_that_stands(library: Library, root: Path) -> None:
    assert library.claim("beach", "photo", ONE) == library.claim("beach", "photo", ONE) == "beach/photo"
    commit(library, "beach/photo", ONE)
    assert claims(root) == []
    assert library.claim("beach", "photo", ONE) == "beach/photo"
    assert library.claim("beach", "photo", OTHER) == "beach/photo~22222222"
    assert claims(root) == [".photo~22222222.claim"]


def test_the_same_stem_in_another_category_is_another_slot(library: Library) -> None:
    assert library.claim("beach", "photo", ONE) == "beach/photo"
    assert library.claim("beach/2024", "photo", OTHER) == "beach/2024/photo"


def test_a_directory_or_a_damaged_manifest_in_the_way_counts_as_taken(library: Library, root: Path) -> None:
    (root / "manifests/beach/photo.json").mkdir(parents=True)
    (root / "manifests/beach/other.json").write_bytes(b"\x00" * 100)
    assert library.claim("beach", "photo", ONE) == "beach/photo~11111111"
    assert library.claim("beach", "other", ONE) == "beach/other~11111111"


@pytest.mark.parametrize("content", [b"", b"\x00" * 64], ids=["empty", "zeros"])
def test_a_claim_torn_by_a_power_cut_holds_its_name_only_for_a_minute(
    library: Library, root: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "manifests/beach").mkdir(parents=True)
    (root / "manifests/beach/.photo.claim").write_bytes(content)
    assert library.claim("beach", "photo", ONE) == "beach/photo~11111111"
    later = time.time() + 61
    monkeypatch.setattr(time, "time", lambda: later)
    assert library.claim("beach", "photo", OTHER) == "beach/photo"


@pytest.mark.parametrize("stem", ["new\nline", os.fsdecode(b"\xff\xfe"), "写" * 60, "x" * 180, " ", "a.json", "~"])
def test_any_stem_can_be_claimed_and_published(library: Library, root: Path, stem: str) -> None:
    assert library.claim("beach", stem, ONE) == f"beach/{stem}"
    slot = library.claim("beach", stem, OTHER)
    assert slot.endswith("~22222222")
    commit(library, slot, OTHER)
    assert library.manifest(slot) is not None
    assert claims(root) == [f".{stem}.claim"]


@pytest.mark.parametrize(
    ("category", "stem"),
    [("..", "a"), ("a/../b", "a"), ("/a", "a"), (".by-source", "a"), ("a", "../a"), ("a", ".b"), ("", "a")],
)
def test_no_slot_leads_out_of_the_library_or_is_hidden(library: Library, category: str, stem: str) -> None:
    with pytest.raises(ValueError, match=r"hidden|not a path"):
        library.claim(category, stem, ONE)


RACE = """
    import sys, time
    from pathlib import Path
    from ingesting import library_settings
    from tasks.library import Library
    library = Library(library_settings(Path(sys.argv[1])))
    print("ready", flush=True)
    sys.stdin.readline()
    for number in range(int(sys.argv[3])):
        print(library.claim("beach", f"photo{number}", sys.argv[2]))
"""


def test_two_processes_that_race_for_a_hundred_names_never_share_one(root: Path) -> None:
    library_settings(root)
    command = [sys.executable, "-c", textwrap.dedent(RACE), str(root)]
    children = [
        subprocess.Popen(
            [*command, sha256, "100"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"},
            text=True,
        )
        for sha256 in (ONE, OTHER, OTHER)
    ]
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
    with ThreadPoolExecutor() as pool:
        one, other, same = pool.map(lambda child: child.communicate("go\n", timeout=30)[0].split(), children)
    assert len(one) == len(other) == 100
    assert other == same
    assert not set(one) & set(other)


CLAIM = """
    import os, sys
    from pathlib import Path
    from ingesting import library_settings
    from tasks.library import Library
    library = Library(library_settings(Path(sys.argv[1])))
    for sha256 in ("1" * 64, "1" * 64, "2" * 64):
        print(library.claim("beach", sys.argv[2], sha256))
"""


@pytest.mark.parametrize("error", ["EPERM", "EOPNOTSUPP", "EINVAL"])
def test_claims_are_exclusive_without_hard_links_too(root: Path, error: str) -> None:
    printed = run_with([f"linkat,link:error={error}"], CLAIM, root, "photo")
    assert printed.split() == ["beach/photo", "beach/photo", "beach/photo~22222222"]


def test_a_stem_that_the_file_system_refuses_is_made_plain(root: Path) -> None:
    library_settings(root)
    printed = run_with(["linkat,openat:error=EINVAL"], CLAIM, root, "a:b", only=".a:b.claim")
    assert printed.split() == ["beach/a_b", "beach/a_b", "beach/a_b~22222222"]


CLAIM_AS_OTHER = CLAIM.replace('("1" * 64, "1" * 64, "2" * 64)', '("2" * 64,)')


def test_a_name_committed_between_the_look_and_the_claim_is_not_taken(root: Path, library: Library) -> None:
    """Another worker's claim is dropped after its manifest stands, so a new claim alone proves nothing."""
    assert library.claim("beach", "photo", ONE) == "beach/photo"
    with held_at("linkat", CLAIM_AS_OTHER, root, "photo") as claim:
        claim.wait(lambda: list((root / "manifests/beach").glob(".thumbdrop-*.tmp")))
        commit(library, "beach/photo", ONE)
        assert claim.release().split() == ["beach/photo~22222222"]
    assert claims(root) == [".photo~22222222.claim"]


# -- sources that were here before


def test_a_source_keeps_its_slot_for_the_same_content_when_the_rules_change(library: Library) -> None:
    slot = library.slot_for(arrival(), "beach", ONE)
    commit(library, slot, ONE)
    assert library.slot_for(arrival(), "mountains", ONE) == "beach/photo"
    assert library.slot_for(arrival("b/photo.jpg"), "mountains", ONE) == "mountains/photo"
    assert library.slot_for(arrival(), "mountains", OTHER) == "mountains/photo~22222222"


def test_a_remembered_slot_that_now_belongs_to_another_content_is_not_used(library: Library, root: Path) -> None:
    commit(library, library.slot_for(arrival(), "beach", ONE), ONE)
    (root / "manifests/beach/photo.json").unlink()
    commit(library, library.slot_for(arrival("b/photo.jpg"), "beach", OTHER), OTHER, arrival("b/photo.jpg"))
    assert library.known_slot(arrival(), ONE) is None
    assert library.slot_for(arrival(), "beach", ONE) == "beach/photo~11111111"


def test_a_remembered_slot_whose_manifest_was_deleted_is_reserved_anew(library: Library, root: Path) -> None:
    commit(library, library.slot_for(arrival(), "beach", ONE), ONE)
    (root / "manifests/beach/photo.json").unlink()
    assert library.known_slot(arrival(), ONE) == "beach/photo"
    assert library.slot_for(arrival("b/photo.jpg"), "beach", OTHER) == "beach/photo~22222222"


def test_publishing_without_the_claim_is_refused(library: Library, root: Path) -> None:
    slot = library.claim("beach", "photo", ONE)
    (root / "manifests/beach/.photo.claim").unlink()
    with pytest.raises(TransientError, match="claim on beach/photo is gone"):
        commit(library, slot, ONE)
    assert library.claim("beach", "photo", OTHER) == "beach/photo"
    with pytest.raises(TransientError, match="claim on beach/photo is gone"):
        commit(library, slot, ONE)


def test_a_claim_that_is_read_while_its_manifest_is_written_over_it_counts_as_held(
    library: Library, root: Path
) -> None:
    slot = library.claim("beach", "photo", ONE)
    claim = root / "manifests/beach/.photo.claim"
    whole = claim.read_bytes()
    claim.write_bytes(whole + b'half of a manifest"}')
    with ThreadPoolExecutor(1) as other:
        committed = other.submit(commit, library, slot, ONE)
        time.sleep(0.03)
        claim.write_bytes(whole)
        committed.result()
    assert (root / "manifests/beach/photo.json").exists()


def test_by_default_a_changed_image_under_an_old_name_stands_beside_the_older_one(library: Library) -> None:
    commit(library, library.slot_for(arrival(), "beach", ONE), ONE)
    slot = library.slot_for(arrival(), "beach", OTHER)
    commit(library, slot, OTHER)
    assert slot == "beach/photo~22222222"
    assert list(library.manifests_of(INBOX, "a/photo.jpg")) == ["beach/photo", "beach/photo~22222222"]


def test_with_newest_a_changed_image_takes_over_the_slot_of_its_source_only(root: Path) -> None:
    library = Library(library_settings(root, same_name="newest"))
    commit(library, library.slot_for(arrival(), "beach", ONE), ONE)
    assert library.slot_for(arrival("b/photo.jpg"), "beach", CLOSE) == "beach/photo~11111111"
    slot = library.slot_for(arrival(), "elsewhere", OTHER)
    assert slot == "beach/photo"
    manifest = library.manifest(slot)
    assert manifest is not None
    assert manifest.sha256 == ONE
    commit(library, slot, OTHER)
    manifest = library.manifest(slot)
    assert manifest is not None
    assert manifest.sha256 == OTHER
    assert claims(root) == [".photo~11111111.claim"]
    assert list(library.manifests_of(INBOX, "a/photo.jpg")) == ["beach/photo"]
    assert library.known_slot(arrival(), ONE) is None


def test_with_newest_a_claim_left_by_a_crash_after_its_commit_holds_the_slot_only_for_a_minute(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = Library(library_settings(root, same_name="newest"))
    commit(library, library.slot_for(arrival(), "beach", ONE), ONE)
    (root / "manifests/beach/.photo.claim").hardlink_to(root / "manifests/beach/photo.json")
    assert library.slot_for(arrival(), "beach", OTHER) == "beach/photo~22222222"
    later = time.time() + 61
    monkeypatch.setattr(time, "time", lambda: later)
    assert library.slot_for(arrival(), "beach", CLOSE) == "beach/photo"


def test_with_newest_an_image_shared_with_another_source_is_not_taken_from_it(root: Path) -> None:
    library = Library(library_settings(root, same_name="newest"))
    commit(library, library.slot_for(arrival(), "beach", ONE), ONE)
    library.adopt("beach/photo", arrival("b/photo.jpg"), ONE)
    assert library.slot_for(arrival("b/photo.jpg"), "beach", OTHER) == "beach/photo~22222222"


# -- what is known without a look at the content


def test_a_kept_file_is_known_by_source_size_and_mtime(library: Library) -> None:
    commit(library, library.slot_for(arrival(), "beach", ONE), ONE)
    known = library.known_manifest(arrival())
    assert known is not None
    assert known.sha256 == ONE
    assert library.known_manifest(arrival(size_bytes=6)) is None
    assert library.known_manifest(arrival("b/photo.jpg")) is None
    assert library.known_manifest(Arrival(INBOX, "a/photo.jpg", 5, 1_700_000_000_000_000_000)) is not None
    assert library.known_manifest(Arrival(INBOX, "a/photo.jpg", 5, 1_700_000_009_000_000_000)) is None


def test_a_kept_duplicate_is_known_too_once_it_was_adopted(library: Library) -> None:
    commit(library, library.slot_for(arrival(), "beach", ONE), ONE)
    library.adopt("beach/photo", arrival("b/photo.jpg"), ONE)
    known = library.known_manifest(arrival("b/photo.jpg"))
    assert known is not None
    assert known.source.path == "a/photo.jpg"


def test_a_source_that_brings_new_contents_for_ever_has_a_memory_of_bounded_size(library: Library, root: Path) -> None:
    for number in range(120):
        library.adopt(f"beach/photo{number}", arrival(), f"{number:064d}")
    [memory] = (root / "manifests/.by-source").rglob("*.json")
    assert memory.stat().st_size < 20_000
    assert f"{119:064d}" in memory.read_text()
    assert f"{19:064d}" not in memory.read_text()


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff"])
def test_a_damaged_memory_costs_nothing_but_a_look(library: Library, root: Path, content: bytes) -> None:
    commit(library, library.slot_for(arrival(), "beach", ONE), ONE)
    [memory] = (root / "manifests/.by-source").rglob("*.json")
    memory.write_bytes(content)
    assert library.known_manifest(arrival()) is None
    assert library.slot_for(arrival(), "beach", ONE) == "beach/photo"
