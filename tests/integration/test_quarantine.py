"""Quarantine: never a file without its reason, never onto another file, and back again under its own name."""

import hashlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from config.settings import Settings
from ingesting import INBOX, arrival_of, library_settings, tree_of
from needs import missing
from straced import run_to_end, run_with
from tasks.errors import InputError, Reason, ResourceError
from tasks.messages import Arrival
from tasks.quarantine import Entry, Quarantine, RetryRefusedError
from tasks.records import from_utc
from tasks.source import open_source, put_back_leftovers
from unprivileged import reachable_directory

WHY = InputError(Reason.CORRUPT, "could not decode it: bad marker at byte 4711", "look at it with another program")


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    (tmp_path / "inbox").mkdir()
    return tmp_path / "inbox"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "library"


@pytest.fixture
def quarantine(root: Path) -> Quarantine:
    return Quarantine(settings_of(root))


def settings_of(root: Path) -> Settings:
    return Settings.model_construct(library=library_settings(root))


def put(inbox: Path, path: str, content: bytes = b"broken") -> Path:
    file = inbox / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    return file


def set_aside(quarantine: Quarantine, inbox: Path, path: str, *, keep: bool = False) -> Entry:
    arrival = arrival_of(inbox, path)
    with open_source(inbox, path) as source:
        entry = quarantine.put(arrival, source, WHY, attempts=1, first_seen_at=1_715_065_689.0, keep=keep)
    assert entry is not None
    return entry


def test_the_file_and_its_reason_stand_where_the_contract_says(inbox: Path, root: Path, quarantine: Quarantine) -> None:
    put(inbox, "a/b/photo.jpg")
    arrival = arrival_of(inbox, "a/b/photo.jpg")
    entry = set_aside(quarantine, inbox, "a/b/photo.jpg")
    files = tree_of(root, hidden=True)
    record = json.loads(files.pop("quarantine/inbox/a/b/photo.jpg.reason.json"))
    assert files == {"quarantine/inbox/a/b/photo.jpg": b"broken"}
    assert entry.path == "quarantine/inbox/a/b/photo.jpg"
    assert abs(time.time() - from_utc(record.pop("quarantined_at"))) < 60
    assert record == {
        "version": 1,
        "reason": "corrupt",
        "message": "could not decode it: bad marker at byte 4711",
        "hint": "look at it with another program",
        "attempts": 1,
        "sha256": hashlib.sha256(b"broken").hexdigest(),
        "source": {"inbox": "inbox", "path": "a/b/photo.jpg", "size_bytes": 6, "mtime_ns": arrival.mtime_ns},
        "first_seen_at": "2024-05-07T07:08:09Z",
    }
    assert os.listdir(inbox / "a/b") == []


@pytest.mark.parametrize(
    "path",
    ["new\nline.jpg", os.fsdecode(b"\xff/\xfe.jpg"), "n" * 251 + ".jpg", "写" * 84, "a." + "b" * 253, "\x1b[31m/ .jpg"],
)
def test_any_name_goes_in_is_found_and_comes_out_again(inbox: Path, quarantine: Quarantine, path: str) -> None:
    put(inbox, path)
    arrival = arrival_of(inbox, path)
    entry = set_aside(quarantine, inbox, path)
    assert quarantine.find(INBOX, path) == entry
    assert quarantine.reason_for(arrival) == entry.finding
    assert list(quarantine.entries()) == [entry]
    assert not (inbox / path).exists()
    quarantine.retry(entry, inbox)
    assert arrival_of(inbox, path) == arrival
    assert list(quarantine.entries()) == []


def test_two_names_that_are_cut_to_fit_stay_two(inbox: Path, quarantine: Quarantine) -> None:
    for path in ("x" * 250 + "1.jpg", "x" * 250 + "2.jpg"):
        put(inbox, path)
        set_aside(quarantine, inbox, path)
    assert len({entry.path for entry in quarantine.entries()}) == 2


def test_an_occupied_name_is_never_replaced(inbox: Path, root: Path, quarantine: Quarantine) -> None:
    for content in (b"first", b"second", b"third"):
        put(inbox, "photo.jpg", content)
        set_aside(quarantine, inbox, "photo.jpg")
    files = [content for name, content in tree_of(root).items() if not name.endswith(".reason.json")]
    assert sorted(files) == [b"first", b"second", b"third"]
    found = quarantine.find(INBOX, "photo.jpg")
    assert found is not None
    assert len(list(quarantine.entries())) == 3


def test_the_same_bytes_again_and_again_do_not_pile_up(inbox: Path, root: Path, quarantine: Quarantine) -> None:
    for _ in range(3):
        put(inbox, "photo.jpg")
        set_aside(quarantine, inbox, "photo.jpg")
    assert len(tree_of(root)) == 2
    assert os.listdir(inbox) == []


def test_a_quarantined_file_does_not_stand_in_the_way_of_a_folder_of_its_name(
    inbox: Path, root: Path, quarantine: Quarantine
) -> None:
    put(inbox, "a.jpg")
    set_aside(quarantine, inbox, "a.jpg")
    put(inbox, "a.jpg/b.jpg", b"below")
    arrival = arrival_of(inbox, "a.jpg/b.jpg")
    entry = set_aside(quarantine, inbox, "a.jpg/b.jpg")
    assert (root / entry.path).read_bytes() == b"below"
    assert quarantine.find(INBOX, "a.jpg/b.jpg") == entry
    assert entry.finding.source == arrival


def test_nobody_can_upload_a_reason(inbox: Path, root: Path, quarantine: Quarantine) -> None:
    put(inbox, "photo.jpg")
    genuine = set_aside(quarantine, inbox, "photo.jpg")
    forged = (root / "quarantine/inbox/photo.jpg.reason.json").read_bytes().replace(b"corrupt", b"forged!")
    put(inbox, "other.jpg.reason.json", forged)
    uploaded = set_aside(quarantine, inbox, "other.jpg.reason.json")
    assert (root / uploaded.path).read_bytes() == forged
    assert sorted(entry.finding.reason for entry in quarantine.entries()) == ["corrupt", "corrupt"]
    assert genuine in list(quarantine.entries())


def test_a_folder_in_the_place_of_a_reason_is_no_hindrance(inbox: Path, root: Path, quarantine: Quarantine) -> None:
    put(inbox, "photo.jpg.reason.json/deep.jpg", b"deep")
    set_aside(quarantine, inbox, "photo.jpg.reason.json/deep.jpg")
    put(inbox, "photo.jpg")
    entry = set_aside(quarantine, inbox, "photo.jpg")
    assert (root / entry.path).read_bytes() == b"broken"
    assert len(list(quarantine.entries())) == 2


def test_in_keep_mode_only_the_reason_is_written_and_the_same_file_recognised(
    inbox: Path, root: Path, quarantine: Quarantine
) -> None:
    file = put(inbox, "photo.jpg")
    arrival = arrival_of(inbox, "photo.jpg")
    entry = set_aside(quarantine, inbox, "photo.jpg", keep=True)
    assert not entry.has_file
    assert list(tree_of(root)) == ["quarantine/inbox/photo.jpg.reason.json"]
    assert file.read_bytes() == b"broken"
    assert quarantine.reason_for(arrival) == entry.finding
    assert quarantine.reason_for(Arrival(INBOX, "photo.jpg", arrival.size_bytes + 1, arrival.mtime_ns)) is None
    assert quarantine.reason_for(Arrival(INBOX, "photo.jpg", arrival.size_bytes, arrival.mtime_ns + 10**10)) is None
    assert quarantine.reason_for(Arrival("other", "photo.jpg", arrival.size_bytes, arrival.mtime_ns)) is None


def test_in_keep_mode_the_reason_of_a_changed_file_takes_the_place_of_the_older_one(
    inbox: Path, quarantine: Quarantine
) -> None:
    put(inbox, "photo.jpg")
    set_aside(quarantine, inbox, "photo.jpg", keep=True)
    put(inbox, "photo.jpg", b"broken otherwise")
    entry = set_aside(quarantine, inbox, "photo.jpg", keep=True)
    assert list(quarantine.entries()) == [entry]
    assert quarantine.reason_for(arrival_of(inbox, "photo.jpg")) == entry.finding


def test_retry_and_drop_of_a_kept_file_only_remove_its_reason(inbox: Path, root: Path, quarantine: Quarantine) -> None:
    file = put(inbox, "photo.jpg")
    quarantine.retry(set_aside(quarantine, inbox, "photo.jpg", keep=True), inbox)
    assert tree_of(root) == {}
    quarantine.drop(set_aside(quarantine, inbox, "photo.jpg", keep=True))
    assert tree_of(root) == {}
    assert file.exists()


@pytest.mark.parametrize("change", ["rewritten", "replaced", "gone"])
def test_a_file_that_changed_since_it_was_judged_stays_and_leaves_no_reason(
    inbox: Path, root: Path, quarantine: Quarantine, change: str
) -> None:
    file = put(inbox, "a/photo.jpg")
    arrival = arrival_of(inbox, "a/photo.jpg")
    with open_source(inbox, "a/photo.jpg") as source:
        match change:
            case "rewritten":
                file.write_bytes(b"mended")
            case "replaced":
                os.replace(put(inbox, "upload", b"mended"), file)
            case "gone":
                file.unlink()
        left = tree_of(inbox)
        assert quarantine.put(arrival, source, WHY, attempts=1, first_seen_at=None, keep=False) is None
    assert tree_of(inbox) == left
    assert tree_of(root, hidden=True) == {}
    assert not (root / "quarantine/inbox").exists()


def test_a_file_without_a_source_gets_a_reason_only(quarantine: Quarantine) -> None:
    arrival = Arrival(INBOX, "photo.jpg", 6, 1)
    entry = quarantine.put(arrival, None, WHY, attempts=3, first_seen_at=None, keep=False)
    assert entry is not None
    assert entry.finding.sha256 is None
    assert quarantine.reason_for(arrival) == entry.finding


def test_retry_makes_the_folders_that_have_gone_since_and_tidies_up_behind(
    inbox: Path, root: Path, quarantine: Quarantine
) -> None:
    put(inbox, "a/b/photo.jpg")
    entry = set_aside(quarantine, inbox, "a/b/photo.jpg")
    (inbox / "a/b").rmdir()
    (inbox / "a").rmdir()
    inbox.chmod(0o775)
    quarantine.retry(entry, inbox)
    assert (inbox / "a/b/photo.jpg").read_bytes() == b"broken"
    assert (inbox / "a").stat().st_mode & 0o777 == 0o775
    assert os.listdir(root / "quarantine") == []


def test_retry_is_refused_when_the_name_is_taken_and_nothing_is_changed(
    inbox: Path, root: Path, quarantine: Quarantine
) -> None:
    put(inbox, "photo.jpg")
    entry = set_aside(quarantine, inbox, "photo.jpg")
    put(inbox, "photo.jpg", b"new")
    with pytest.raises(RetryRefusedError, match=r"photo.jpg stands in the inbox already"):
        quarantine.retry(entry, inbox)
    assert (inbox / "photo.jpg").read_bytes() == b"new"
    assert list(quarantine.entries()) == [entry]
    assert (root / entry.path).read_bytes() == b"broken"


def test_retry_follows_no_link_out_of_the_inbox(inbox: Path, tmp_path: Path, quarantine: Quarantine) -> None:
    put(inbox, "a/photo.jpg")
    entry = set_aside(quarantine, inbox, "a/photo.jpg")
    (inbox / "a").rmdir()
    (tmp_path / "outside").mkdir()
    (inbox / "a").symlink_to(tmp_path / "outside")
    with pytest.raises(RetryRefusedError, match=r"could not put a/photo\.jpg back"):
        quarantine.retry(entry, inbox)
    assert os.listdir(tmp_path / "outside") == []
    assert list(quarantine.entries()) == [entry]


def test_retry_into_a_missing_inbox_is_refused(inbox: Path, quarantine: Quarantine) -> None:
    put(inbox, "photo.jpg")
    entry = set_aside(quarantine, inbox, "photo.jpg")
    with pytest.raises(RetryRefusedError):
        quarantine.retry(entry, inbox / "away")
    assert list(quarantine.entries()) == [entry]


def test_drop_deletes_file_and_reason_and_may_be_repeated(inbox: Path, root: Path, quarantine: Quarantine) -> None:
    put(inbox, "a/photo.jpg")
    entry = set_aside(quarantine, inbox, "a/photo.jpg")
    quarantine.drop(entry)
    quarantine.drop(entry)
    assert tree_of(root) == {}
    assert os.listdir(root / "quarantine") == []


def test_damaged_reasons_and_stray_files_are_passed_over(inbox: Path, root: Path, quarantine: Quarantine) -> None:
    assert list(quarantine.entries()) == []
    assert quarantine.find(INBOX, "photo.jpg") is None
    put(inbox, "photo.jpg")
    entry = set_aside(quarantine, inbox, "photo.jpg")
    put(root, "quarantine/inbox/stray.jpg")
    put(root, "quarantine/inbox/damaged.jpg.reason.json", b"{")
    assert list(quarantine.entries()) == [entry]
    put(inbox, "stray.jpg", b"another")
    assert set_aside(quarantine, inbox, "stray.jpg").path != "quarantine/inbox/stray.jpg"
    assert not (root / "quarantine/inbox/stray.jpg.reason.json").exists()
    put(inbox, "damaged.jpg")
    assert set_aside(quarantine, inbox, "damaged.jpg").path != "quarantine/inbox/damaged.jpg"


def test_entries_can_be_dropped_while_they_are_walked(inbox: Path, root: Path, quarantine: Quarantine) -> None:
    for number in range(30):
        put(inbox, f"{number % 3}/photo{number}.jpg", str(number).encode())
        set_aside(quarantine, inbox, f"{number % 3}/photo{number}.jpg")
    for entry in quarantine.entries():
        quarantine.drop(entry)
    assert tree_of(root) == {}


@pytest.fixture
def away() -> Iterator[Path]:
    """An inbox on another file system."""
    with reachable_directory() as here:
        other = Path("/dev/shm") / here.name
        if other.parent.stat().st_dev == here.stat().st_dev:
            missing("no second file system at /dev/shm")
        other.mkdir()
        yield other
        for left in other.iterdir():
            left.unlink()
        other.rmdir()


def test_across_file_systems_a_file_is_copied_in_and_out(away: Path, root: Path, quarantine: Quarantine) -> None:
    put(away, "photo.jpg", b"x" * 3_000_000)
    arrival = arrival_of(away, "photo.jpg")
    entry = set_aside(quarantine, away, "photo.jpg")
    assert (root / entry.path).read_bytes() == b"x" * 3_000_000
    assert os.listdir(away) == []
    quarantine.retry(entry, away)
    assert arrival_of(away, "photo.jpg") == arrival
    assert os.listdir(away) == ["photo.jpg"]
    assert tree_of(root, hidden=True) == {}


PUT = """
    import sys
    from pathlib import Path
    from test_quarantine import set_aside, settings_of
    from tasks.errors import IngestError
    from tasks.quarantine import Quarantine
    try:
        set_aside(Quarantine(settings_of(Path(sys.argv[1]))), Path(sys.argv[2]), "photo.jpg")
    except IngestError as error:
        print(type(error).__name__)
""".replace("from test_quarantine", f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n    from test_quarantine")


def test_a_full_disk_keeps_the_file_in_the_inbox_and_leaves_no_reason(inbox: Path, root: Path) -> None:
    put(inbox, "photo.jpg")
    library_settings(root)
    assert run_with(["renameat2:error=ENOSPC"], PUT, root, inbox).strip() == ResourceError.__name__
    assert os.listdir(inbox) == ["photo.jpg"]
    assert tree_of(root, hidden=True) == {}


@pytest.mark.parametrize("call", ["linkat", "unlinkat", "renameat2"])
def test_killed_on_the_way_a_file_is_never_in_quarantine_without_its_reason(
    inbox: Path, root: Path, quarantine: Quarantine, call: str
) -> None:
    for number in range(1, 20):
        put(inbox, "photo.jpg", str(number).encode())
        status, _, trouble = run_to_end([f"{call}:signal=KILL:when={number}"], PUT, root, inbox)
        put_back_leftovers(inbox, 0, time.time() + 1)
        for name in tree_of(root):
            if not name.endswith(".reason.json"):
                assert (root / f"{name}.reason.json").exists()
        if status == 0:
            assert number > 1
            return
        assert "Traceback" not in trouble
        if (inbox / "photo.jpg").exists():
            entry = set_aside(quarantine, inbox, "photo.jpg")
            assert (root / entry.path).read_bytes() == str(number).encode()
    pytest.fail("never came to its end")
