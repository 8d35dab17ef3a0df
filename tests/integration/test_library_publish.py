"""Publishing: whole files only (invariant 3), the manifest last, the same arrival twice leaves the same files."""

import errno
import grp
import hashlib
import json
import os
import resource
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ingesting import (
    INBOX,
    RECIPE,
    SIZES,
    arrival_of,
    carried_out,
    ingest,
    library_settings,
    manifest_of,
    publish,
    renditions_of,
    tree_of,
)
from needs import missing
from straced import run_with
from tasks.errors import BlockedError, IngestError, Reason, ResourceError, TransientError
from tasks.library import Library
from tasks.source import open_source
from unprivileged import reachable_directory, run_as_nobody

ONE, OTHER = "1" * 64, "2" * 64


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    (tmp_path / "inbox").mkdir()
    return tmp_path / "inbox"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "library"


@pytest.fixture
def library(root: Path) -> Library:
    return Library(library_settings(root))


def put(inbox: Path, path: str, content: bytes = b"photo") -> Path:
    file = inbox / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    return file


def test_an_image_stands_in_the_library_as_the_contract_says(inbox: Path, root: Path, library: Library) -> None:
    put(inbox, "a/IMG_1.JPG")
    arrival = arrival_of(inbox, "a/IMG_1.JPG")
    assert ingest(library, inbox, "a/IMG_1.JPG") == ("beach/IMG_1", "originals/beach/IMG_1.JPG")
    files = tree_of(root)
    manifest = json.loads(files.pop("manifests/beach/IMG_1.json"))
    assert files == {
        "originals/beach/IMG_1.JPG": b"photo",
        "thumbnails/beach/640x640/IMG_1_640x640.jpg": b"640x640photo",
        "thumbnails/beach/200x200/IMG_1_200x200.webp": b"200x200photo",
    }
    assert manifest["original"] == "originals/beach/IMG_1.JPG"
    assert manifest["category"] == "beach"
    assert manifest["source"]["mtime_ns"] == arrival.mtime_ns
    assert manifest["thumbnails"][1] == {
        "path": "thumbnails/beach/200x200/IMG_1_200x200.webp",
        "box": "200x200",
        "width": 200,
        "height": 100,
        "format": "webp",
        "size_bytes": 12,
    }
    assert not [name for name in tree_of(root, hidden=True) if name.endswith((".tmp", ".claim"))]
    assert os.listdir(inbox / "a") == []


def test_a_new_image_makes_no_file_that_is_deleted_again(inbox: Path, root: Path, library: Library) -> None:
    """For minutes ext4 passes over each deleted inode when it makes a file nearby: thousands of them cost more than images."""
    put(inbox, "photo.jpg")
    slot = library.claim("beach", "photo", hashlib.sha256(b"photo").hexdigest())
    claim = (root / "manifests/beach/.photo.claim").stat().st_ino
    assert ingest(library, inbox, "photo.jpg")[0] == slot
    assert (root / "manifests/beach/photo.json").stat().st_ino == claim
    assert (root / "manifests/beach/photo.json").stat().st_nlink == 1


def test_a_claim_that_another_worker_made_is_not_written_to(inbox: Path, root: Path, library: Library) -> None:
    put(inbox, "photo.jpg")
    Library(library_settings(root)).claim("beach", "photo", hashlib.sha256(b"photo").hexdigest())
    with (root / "manifests/beach/.photo.claim").open("rb") as claim:
        before = claim.read()
        ingest(library, inbox, "photo.jpg")
        claim.seek(0)
        assert claim.read() == before
    assert library.manifest("beach/photo") is not None


@contextmanager
def largest_file(size_bytes: int) -> Iterator[None]:
    """Let writes end where a file has that size: a part is written, as on a disk that fills up."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_manifest_that_does_not_go_into_its_claim_as_a_whole_leaves_the_claim(
    inbox: Path, root: Path, library: Library
) -> None:
    """An XFS with blocks of 1 KiB stops in the middle of a page when it is full."""
    put(inbox, "photo.jpg")
    library.claim("beach", "photo", hashlib.sha256(b"photo").hexdigest())
    claim = root / "manifests/beach/.photo.claim"
    before = claim.read_bytes()
    with largest_file(600), pytest.raises(IngestError, match="File too large"):
        ingest(library, inbox, "photo.jpg")
    assert claim.read_bytes() == before
    assert list(tree_of(root)) == []
    slot, _ = ingest(library, inbox, "photo.jpg")
    assert library.manifest(slot) is not None


def test_a_manifest_longer_than_a_page_is_whole(inbox: Path, library: Library) -> None:
    """It gets a file of its own, and not that of its claim, which others may be reading."""
    path = "/".join(["folder" * 40] * 15) + "/photo.jpg"
    put(inbox, path)
    slot, _ = ingest(library, inbox, path)
    manifest = library.manifest(slot)
    assert manifest is not None
    assert manifest.source.path == path


@pytest.mark.parametrize(
    "name",
    [
        "new\nline.jpg",
        os.fsdecode(b"\xff\xfe.jpg"),
        "n" * 251 + ".jpg",
        "写" * 83 + ".jpg",
        "\x1b[31m.jpg",
        "no suffix",
        "a. ",
    ],
)
def test_any_name_ends_complete_and_is_found_again(inbox: Path, library: Library, name: str) -> None:
    put(inbox, name)
    arrival = arrival_of(inbox, name)
    slot, original = ingest(library, inbox, name)
    manifest = library.manifest(slot)
    assert manifest is not None
    assert manifest.source == arrival
    assert manifest.original == original
    assert original is not None
    assert original.endswith(os.path.splitext(name)[1])
    assert library.is_complete(manifest, RECIPE)
    assert library.known_manifest(arrival) == manifest


def test_files_and_directories_get_their_modes_and_group_whatever_the_umask(inbox: Path, root: Path) -> None:
    group = next((one for one in grp.getgrall() if one.gr_gid not in (os.getegid(), 0)), None)
    if os.geteuid() != 0 or group is None:
        missing("needs root and another group to give files to")
    library = Library(library_settings(root, file_mode="0640", dir_mode="0750", group=group.gr_name))
    put(inbox, "photo.jpg").chmod(0o600)
    before = os.umask(0o077)
    try:
        ingest(library, inbox, "photo.jpg")
    finally:
        os.umask(before)
    for path in root.rglob("*"):
        facts = path.lstat()
        assert (stat.S_IMODE(facts.st_mode), facts.st_gid) == (0o750 if path.is_dir() else 0o640, group.gr_gid), path


def test_a_setgid_directory_of_the_operator_keeps_passing_its_group_on(inbox: Path, root: Path) -> None:
    if os.geteuid() != 0:
        missing("needs to be root")
    library = Library(library_settings(root))
    os.chown(root, -1, 12345)
    root.chmod(0o2755)
    put(inbox, "photo.jpg")
    ingest(library, inbox, "photo.jpg")
    folders = [path.stat() for path in root.rglob("*") if path.is_dir()]
    assert {(facts.st_gid, facts.st_mode & stat.S_ISGID) for facts in folders} == {(12345, stat.S_ISGID)}


def test_an_unknown_group_is_found_at_the_start(root: Path) -> None:
    with pytest.raises(KeyError):
        Library(library_settings(root, group="no-such-group"))


def facts_of(root: Path) -> dict[str, tuple[int, int]]:
    return {name: ((root / name).stat().st_ino, (root / name).stat().st_mtime_ns) for name in tree_of(root)}


def test_a_duplicate_touches_nothing_in_the_library(inbox: Path, root: Path, library: Library) -> None:
    put(inbox, "photo.jpg")
    ingest(library, inbox, "photo.jpg")
    before = facts_of(root)
    put(inbox, "photo.jpg")
    assert ingest(library, inbox, "photo.jpg") == ("beach/photo", "originals/beach/photo.jpg")
    assert facts_of(root) == before
    assert os.listdir(inbox) == []


def test_what_is_missing_is_made_and_the_rest_left_as_it_is(inbox: Path, root: Path, library: Library) -> None:
    put(inbox, "photo.jpg")
    ingest(library, inbox, "photo.jpg")
    before = facts_of(root)
    lost = "thumbnails/beach/640x640/photo_640x640.jpg"
    (root / lost).unlink()
    manifest = library.manifest("beach/photo")
    assert manifest is not None
    assert not library.is_complete(manifest, RECIPE)
    put(inbox, "photo.jpg")
    ingest(library, inbox, "photo.jpg")
    after = facts_of(root)
    assert (root / lost).read_bytes() == b"640x640photo"
    for kept in ("thumbnails/beach/200x200/photo_200x200.webp", "originals/beach/photo.jpg"):
        assert after[kept] == before[kept]
    manifest = library.manifest("beach/photo")
    assert manifest is not None
    assert manifest.original == "originals/beach/photo.jpg"


def test_complete_means_the_same_recipe_and_every_thumbnail_of_its_recorded_size(
    inbox: Path, root: Path, library: Library
) -> None:
    put(inbox, "photo.jpg")
    slot, _ = ingest(library, inbox, "photo.jpg")
    manifest = library.manifest(slot)
    assert manifest is not None
    assert library.is_complete(manifest, RECIPE)
    assert not library.is_complete(manifest, "another recipe")
    (root / manifest.thumbnails[0].path).write_bytes(b"short")
    assert not library.is_complete(manifest, RECIPE)


def test_a_damaged_manifest_counts_as_absent_and_is_replaced_by_its_source(
    inbox: Path, root: Path, library: Library
) -> None:
    put(inbox, "photo.jpg")
    arrival = arrival_of(inbox, "photo.jpg")
    ingest(library, inbox, "photo.jpg")
    (root / "manifests/beach/photo.json").write_bytes(b"{")
    assert library.manifest("beach/photo") is None
    assert library.known_manifest(arrival) is None
    put(inbox, "photo.jpg")
    slot, original = ingest(library, inbox, "photo.jpg")
    assert slot == "beach/photo~" + slot.rpartition("~")[2]
    assert original == f"originals/{slot}.jpg"


def test_with_newest_a_changed_image_replaces_thumbnails_and_manifest_but_no_original(inbox: Path, root: Path) -> None:
    library = Library(library_settings(root, same_name="newest"))
    put(inbox, "photo.jpg", b"first")
    ingest(library, inbox, "photo.jpg")
    put(inbox, "photo.jpg", b"second")
    with open_source(inbox, "photo.jpg") as source:
        arrival, sha256 = arrival_of(inbox, "photo.jpg"), source.sha256()
        slot = library.slot_for(arrival, "beach", sha256)
        carried_out(library, library.publish(slot, manifest_of(arrival, sha256), renditions_of(b"second", SIZES[:1])))
        original = carried_out(library, library.archive(slot, source))
    assert slot == "beach/photo"
    assert original == f"originals/beach/photo~{sha256[:8]}.jpg"
    files = tree_of(root)
    assert files.pop("manifests/beach/photo.json")
    assert files == {
        "originals/beach/photo.jpg": b"first",
        original: b"second",
        "thumbnails/beach/640x640/photo_640x640.jpg": b"640x640second",
    }


def test_trouble_with_the_inbox_leaves_what_a_changed_image_would_replace_as_it_was(
    inbox: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = Library(library_settings(root, same_name="newest"))
    put(inbox, "photo.jpg", b"first")
    ingest(library, inbox, "photo.jpg")
    before = tree_of(root)
    put(inbox, "photo.jpg", b"second")
    with open_source(inbox, "photo.jpg") as source:
        sync, lost = os.fsync, source.fd

        def stale(fd: int) -> None:
            if fd == lost:
                raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
            sync(fd)

        monkeypatch.setattr(os, "fsync", stale)
        arrival, sha256 = arrival_of(inbox, "photo.jpg"), source.sha256()
        slot = library.slot_for(arrival, "beach", sha256)
        with pytest.raises(TransientError):
            carried_out(library, library.publish(slot, manifest_of(arrival, sha256), renditions_of(b"second"), source))
    assert slot == "beach/photo"
    assert tree_of(root) == before


# -- trouble: each kind has its class, nothing half-written stays, and another try completes


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A library on a file system of one megabyte."""
    root = tmp_path / "small"
    root.mkdir()
    if os.geteuid() != 0 or os.system(f"mount -t tmpfs -o size=1m none {root}"):
        missing("cannot mount a tmpfs")
    yield root
    os.system(f"umount {root}")


def test_a_full_disk_is_a_matter_of_resources_and_leaves_no_trace(inbox: Path, small: Path) -> None:
    library = Library(library_settings(small))
    put(inbox, "photo.jpg", b"x" * 300_000)
    filler = small / "filler"
    filler.write_bytes(b"x" * 600_000)
    with pytest.raises(ResourceError) as raised:
        ingest(library, inbox, "photo.jpg")
    assert raised.value.reason == Reason.NO_SPACE
    assert [name for name in tree_of(small, hidden=True) if not name.endswith(".claim")] == ["filler"]
    filler.unlink()
    ingest(library, inbox, "photo.jpg")
    assert len(tree_of(small)) == 4


def test_a_disk_that_fills_up_while_the_original_is_copied_keeps_it_in_the_inbox(inbox: Path, small: Path) -> None:
    library = Library(library_settings(small))
    put(inbox, "photo.jpg", b"x" * 300_000)
    with open_source(inbox, "photo.jpg") as source:
        slot = publish(library, inbox, source)
        filler = small / "filler"
        filler.write_bytes(b"x" * 300_000)
        with pytest.raises(ResourceError):
            carried_out(library, library.archive(slot, source))
        manifest = library.manifest(slot)
        assert manifest is not None
        assert manifest.original is None
        assert not [name for name in tree_of(small, hidden=True) if name.endswith(".tmp") or name.startswith("orig")]
        filler.unlink()
        assert carried_out(library, library.archive(slot, source)) == "originals/beach/photo.jpg"
    assert os.listdir(inbox) == []


def test_room_is_measured_against_min_free_and_the_message_has_both_numbers(root: Path, small: Path) -> None:
    Library(library_settings(root)).check_room()
    with pytest.raises(ResourceError, match=r"\d+ bytes free, min_free is 2000000") as raised:
        Library(library_settings(small, min_free="2MB")).check_room()
    assert raised.value.reason == Reason.NO_SPACE


def test_a_read_only_library_is_a_matter_of_resources(inbox: Path, small: Path) -> None:
    library = Library(library_settings(small))
    put(inbox, "photo.jpg")
    os.system(f"mount -o remount,ro {small}")
    with pytest.raises(ResourceError) as raised:
        library.check_room()
    assert raised.value.reason == Reason.READ_ONLY
    with pytest.raises(ResourceError) as raised:
        ingest(library, inbox, "photo.jpg")
    assert raised.value.reason == Reason.READ_ONLY
    assert os.listdir(inbox) == ["photo.jpg"]


def test_a_library_that_is_away_pauses_and_is_not_made_anew(inbox: Path, root: Path, library: Library) -> None:
    put(inbox, "photo.jpg")
    root.rmdir()
    with pytest.raises(ResourceError, match="is not there"):
        library.check_room()
    with pytest.raises(ResourceError, match="is not there"):
        ingest(library, inbox, "photo.jpg")
    assert not root.exists()


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOENT, TransientError),
        (errno.ENOTDIR, TransientError),
        (errno.EIO, TransientError),
        (errno.ESTALE, TransientError),
        (errno.EDQUOT, ResourceError),
        (errno.EMFILE, ResourceError),
        (errno.EACCES, BlockedError),
    ],
)
def test_trouble_with_the_library_never_looks_like_a_missing_photo(
    library: Library, number: int, kind: type[IngestError]
) -> None:
    with pytest.raises(kind) as raised, library._tree.trouble("write", "a/b"):
        raise OSError(number, os.strerror(number))
    assert "could not write a/b" in raised.value.message


FAIL_AT_RENAME = """
    import sys
    from pathlib import Path
    from ingesting import ingest, library_settings
    from tasks.errors import IngestError
    from tasks.library import Library
    try:
        ingest(Library(library_settings(Path(sys.argv[1]))), Path(sys.argv[2]), "photo.jpg")
    except IngestError as error:
        print(type(error).__name__)
"""


@pytest.mark.parametrize(
    "call", ["renameat:error=EIO:when=2", "fsync:error=EIO:when=4", "fchmod:error=EIO:when=3", "write:error=EIO:when=4"]
)
def test_a_failing_disk_leaves_no_temporary_file_and_the_photo_where_it_was(inbox: Path, root: Path, call: str) -> None:
    put(inbox, "photo.jpg")
    library_settings(root)
    assert run_with([call], FAIL_AT_RENAME, root, inbox).strip() == "TransientError"
    assert not list(root.rglob("*.tmp"))
    assert os.listdir(inbox) == ["photo.jpg"]
    ingest(Library(library_settings(root)), inbox, "photo.jpg")
    assert len(tree_of(root)) == 4
    assert os.listdir(inbox) == []


AS_NOBODY = """
    import sys
    from pathlib import Path
    from ingesting import ingest, library_settings
    from tasks.errors import IngestError
    from tasks.library import Library
    become_nobody()
    library = Library(library_settings(Path(sys.argv[1])))
    for step in (library.check_room, lambda: ingest(library, Path(sys.argv[2]), "photo.jpg")):
        try:
            step()
            print("fine")
        except IngestError as error:
            print(type(error).__name__, error.reason)
"""


def test_rights_that_are_missing_pause_the_library_or_block_one_folder_of_it() -> None:
    with reachable_directory() as here:
        for name in ("inbox", "library", "library/thumbnails"):
            (here / name).mkdir()
        put(here / "inbox", "photo.jpg").chmod(0o644)
        (here / "library").chmod(0o555)
        refused = run_as_nobody(AS_NOBODY, here / "library", here / "inbox")
        assert refused.splitlines()[0] == "ResourceError permission"
        (here / "library").chmod(0o777)
        (here / "library/thumbnails").chmod(0o555)
        refused = run_as_nobody(AS_NOBODY, here / "library", here / "inbox")
        assert refused.splitlines() == ["fine", "BlockedError permission"]
        assert os.listdir(here / "inbox") == ["photo.jpg"]


def test_the_source_of_a_manifest_is_named_by_inbox_and_path(inbox: Path, library: Library) -> None:
    put(inbox, "a/photo.jpg")
    ingest(library, inbox, "a/photo.jpg")
    assert list(library.manifests_of(INBOX, "a/photo.jpg")) == ["beach/photo"]
    assert library.manifests_of("other", "a/photo.jpg") == {}


def test_directories_are_shared_while_an_image_is_brought_in_and_let_go_after(
    inbox: Path, root: Path, library: Library
) -> None:
    before = set(os.listdir("/proc/self/fd"))
    put(inbox, "photo.jpg")
    with library.at_work():
        ingest(library, inbox, "photo.jpg")
        held = [
            os.readlink(f"/proc/self/fd/{fd}")
            for fd in set(os.listdir("/proc/self/fd")) - before
            if fd.isdigit() and os.path.exists(f"/proc/self/fd/{fd}")
        ]
        assert held.count(str(root / "manifests/beach")) == 1
    assert set(os.listdir("/proc/self/fd")) == before
    shutil.rmtree(root / "manifests")
    put(inbox, "other.jpg")
    ingest(library, inbox, "other.jpg")
    assert (root / "manifests/beach/other.json").exists(), "nothing is remembered of a directory that went"
