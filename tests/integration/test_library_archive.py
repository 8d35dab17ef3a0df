"""Originals: they move last and whole, only if they are still the file that was read (4), and never onto another (5)."""

import os
import stat
from pathlib import Path

import pytest

from ingesting import carried_out, ingest, library_settings, publish, tree_of
from needs import missing
from straced import held_at, run_to_end, run_with
from tasks.archive import is_on_same_mount
from tasks.durable import DIRECTORY, opened
from tasks.library import Library
from tasks.manifest import Manifest
from tasks.source import Source, open_source
from unprivileged import NOBODY, reachable_directory, run_as_nobody


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


def manifest_at(library: Library, slot: str) -> Manifest:
    manifest = library.manifest(slot)
    assert manifest is not None
    return manifest


def published(library: Library, inbox: Path, path: str) -> tuple[Source, str]:
    source = open_source(inbox, path)
    return source, publish(library, inbox, source)


def test_our_own_file_is_moved_and_gets_the_librarys_mode(inbox: Path, root: Path, library: Library) -> None:
    file = put(inbox, "photo.jpg")
    file.chmod(0o600)
    before = file.stat()
    ingest(library, inbox, "photo.jpg")
    after = (root / "originals/beach/photo.jpg").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert stat.S_IMODE(after.st_mode) == 0o644


@pytest.mark.root
def test_another_users_file_is_copied_so_that_the_uploader_has_no_hold_on_the_archive(
    inbox: Path, root: Path, library: Library
) -> None:
    file = put(inbox, "photo.jpg")
    os.chown(file, 12345, 12345)
    os.utime(file, ns=(10**18, 10**18 + 123_456_789))
    with file.open("r+b") as handle:
        ingest(library, inbox, "photo.jpg")
        handle.write(b"owned")
    archived = root / "originals/beach/photo.jpg"
    assert archived.read_bytes() == b"photo"
    assert archived.stat().st_uid == os.geteuid()
    assert archived.stat().st_mtime_ns == 10**18 + 123_456_789
    assert os.listdir(inbox) == []


def test_a_file_with_a_second_name_is_copied_and_only_its_name_in_the_inbox_goes(
    inbox: Path, root: Path, library: Library, tmp_path: Path
) -> None:
    os.link(put(inbox, "photo.jpg"), tmp_path / "second")
    ingest(library, inbox, "photo.jpg")
    (tmp_path / "second").write_bytes(b"owned")
    assert (root / "originals/beach/photo.jpg").read_bytes() == b"photo"
    assert os.listdir(inbox) == []


def test_an_inbox_on_another_file_system_is_copied_from(tmp_path: Path, library: Library, root: Path) -> None:
    with reachable_directory() as away:
        other = Path("/dev/shm") / away.name
        if other.parent.stat().st_dev == tmp_path.stat().st_dev:
            missing("no second file system at /dev/shm")
        other.mkdir()
        try:
            put(other, "photo.jpg", b"x" * 3_000_000)
            assert ingest(library, other, "photo.jpg")[1] == "originals/beach/photo.jpg"
            assert (root / "originals/beach/photo.jpg").read_bytes() == b"x" * 3_000_000
            assert os.listdir(other) == []
        finally:
            other.rmdir()


@pytest.mark.root
def test_two_mounts_of_one_file_system_are_copied_between(inbox: Path, root: Path) -> None:
    library = Library(library_settings(root))
    if os.system(f"mount --bind {inbox} {inbox}"):
        missing("cannot bind-mount")
    try:
        put(inbox, "photo.jpg")
        inode = (inbox / "photo.jpg").stat().st_ino
        with open_source(inbox, "photo.jpg") as source, opened(os.fspath(root), DIRECTORY) as root_fd:
            assert is_on_same_mount(source, source.dir_fd)
            assert not is_on_same_mount(source, root_fd)
        assert ingest(library, inbox, "photo.jpg")[1] == "originals/beach/photo.jpg"
        assert (root / "originals/beach/photo.jpg").stat().st_ino != inode
        assert os.listdir(inbox) == []
    finally:
        os.system(f"umount {inbox}")


INGEST = """
    import sys
    from pathlib import Path
    from ingesting import ingest, library_settings
    from tasks.library import Library
    print(ingest(Library(library_settings(Path(sys.argv[1]))), Path(sys.argv[2]), "photo.jpg")[1])
"""


@pytest.mark.parametrize(
    "failing",
    [
        ["renameat2:error=EXDEV:when=1"],  # a refusal that nothing announced
        ["renameat2:error=EINVAL"],  # NFS
        ["renameat2:error=EINVAL", "linkat,link:error=EPERM"],
    ],
)
def test_without_a_rename_that_works_the_original_is_archived_all_the_same(
    inbox: Path, root: Path, failing: list[str]
) -> None:
    put(inbox, "photo.jpg")
    library_settings(root)
    assert run_with(failing, INGEST, root, inbox).strip() == "originals/beach/photo.jpg"
    assert tree_of(root)["originals/beach/photo.jpg"] == b"photo"
    assert manifest_at(Library(library_settings(root)), "beach/photo").original == "originals/beach/photo.jpg"
    assert os.listdir(inbox) == []


@pytest.mark.parametrize(
    "failing", ["copy_file_range:error=EXDEV", "copy_file_range:error=EIO:when=2", "ioctl:error=EOPNOTSUPP"]
)
def test_a_plain_copy_takes_over_where_the_kernel_cannot_copy(
    inbox: Path, root: Path, tmp_path: Path, failing: str
) -> None:
    content = os.urandom(2_500_000)
    os.link(put(inbox, "photo.jpg", content), tmp_path / "second")
    library_settings(root)
    run_with([failing], INGEST, root, inbox)
    assert tree_of(root)["originals/beach/photo.jpg"] == content


def test_a_move_that_fails_takes_its_announcement_back(inbox: Path, root: Path) -> None:
    put(inbox, "photo.jpg")
    library_settings(root)
    _, _, trouble = run_to_end(["renameat2:error=EIO"], INGEST, root, inbox)
    assert "TransientError" in trouble
    assert manifest_at(Library(library_settings(root)), "beach/photo").original is None
    assert os.listdir(inbox) == ["photo.jpg"]


def test_an_occupied_name_is_never_replaced(inbox: Path, root: Path, library: Library) -> None:
    put(root, "originals/beach/photo.jpg", b"somebody put this here")
    put(inbox, "photo.jpg")
    slot, original = ingest(library, inbox, "photo.jpg")
    assert slot == "beach/photo"
    assert original is not None
    assert original.startswith("originals/beach/photo~")
    assert (root / "originals/beach/photo.jpg").read_bytes() == b"somebody put this here"
    assert (root / original).read_bytes() == b"photo"
    assert manifest_at(library, slot).original == original


def test_an_original_that_is_archived_already_is_left_as_it_is_and_the_source_goes(
    inbox: Path, root: Path, library: Library
) -> None:
    put(root, "originals/beach/photo.jpg", b"photo")
    inode = (root / "originals/beach/photo.jpg").stat().st_ino
    put(inbox, "photo.jpg")
    assert ingest(library, inbox, "photo.jpg")[1] == "originals/beach/photo.jpg"
    assert (root / "originals/beach/photo.jpg").stat().st_ino == inode
    assert manifest_at(library, "beach/photo").original == "originals/beach/photo.jpg"
    assert os.listdir(inbox) == []


def test_a_duplicate_with_another_suffix_is_not_archived_twice(inbox: Path, root: Path, library: Library) -> None:
    put(inbox, "photo.jpg")
    ingest(library, inbox, "photo.jpg")
    put(inbox, "photo.JPEG")
    assert ingest(library, inbox, "photo.JPEG") == ("beach/photo", "originals/beach/photo.jpg")
    assert os.listdir(root / "originals/beach") == ["photo.jpg"]
    assert os.listdir(inbox) == []


@pytest.mark.parametrize("change", ["rewritten", "replaced", "gone", "touched"])
def test_a_file_that_is_no_longer_the_one_that_was_read_stays_and_nothing_is_archived(
    inbox: Path, root: Path, library: Library, change: str
) -> None:
    file = put(inbox, "photo.jpg")
    source, slot = published(library, inbox, "photo.jpg")
    with source:
        match change:
            case "rewritten":
                file.write_bytes(b"PHOTO")
            case "replaced":
                os.replace(put(inbox, "upload", b"another"), file)
            case "gone":
                file.unlink()
            case "touched":
                os.utime(file)
        left = tree_of(inbox)
        assert carried_out(library, library.archive(slot, source)) is None
    assert tree_of(inbox) == left
    assert manifest_at(library, slot).original is None
    assert not [name for name in tree_of(root, hidden=True) if name.startswith("originals")]


def test_a_file_swapped_in_at_the_very_moment_of_the_move_goes_back(inbox: Path, root: Path) -> None:
    put(inbox, "photo.jpg")
    library_settings(root)
    manifest = root / "manifests/beach/photo.json"
    with held_at("renameat2", INGEST, root, inbox) as move:
        # Announced first, moved second.
        move.wait(lambda: manifest.exists() and b"originals/" in manifest.read_bytes())
        os.replace(put(inbox, ".upload", b"another"), inbox / "photo.jpg")
        assert move.release().strip() == "None"
    assert tree_of(inbox, hidden=True) == {"photo.jpg": b"another"}
    assert not [name for name in tree_of(root) if name.startswith("originals")]
    assert manifest_at(Library(library_settings(root)), "beach/photo").original is None


def test_a_file_that_changes_while_it_is_copied_is_not_archived(inbox: Path, root: Path, tmp_path: Path) -> None:
    file = put(inbox, "photo.jpg", b"x" * 1_000_000)
    os.link(file, tmp_path / "second")
    library_settings(root)
    with held_at("copy_file_range", INGEST, root, inbox) as copy:
        copy.wait(lambda: list(root.glob("originals/beach/.thumbdrop-*.tmp")))
        with file.open("r+b") as writer:
            writer.write(b"still being written")
        assert copy.release().strip() == "None"
    assert os.listdir(inbox) == ["photo.jpg"]
    assert os.listdir(root / "originals/beach") == []


def test_a_copy_that_differs_from_its_source_is_thrown_away(inbox: Path, root: Path, tmp_path: Path) -> None:
    """A copy that stopped short for no reason that anybody noticed."""
    os.link(put(inbox, "photo.jpg", b"x" * 3_000_000), tmp_path / "second")
    library_settings(root)
    _, _, trouble = run_to_end(["copy_file_range:retval=3000000"], INGEST, root, inbox)
    assert "TransientError" in trouble
    assert os.listdir(inbox) == ["photo.jpg"]
    assert os.listdir(root / "originals/beach") == []


def test_the_manifest_keeps_an_original_that_another_worker_has_archived_meanwhile(
    inbox: Path, library: Library
) -> None:
    put(inbox, "photo.jpg")
    source, slot = published(library, inbox, "photo.jpg")
    with source:
        ingest(library, inbox, "photo.jpg")
        library.set_original(slot, None)  # as if this worker had committed after the other one archived
        assert carried_out(library, library.archive(slot, source)) == "originals/beach/photo.jpg"
    assert manifest_at(library, slot).original == "originals/beach/photo.jpg"


@pytest.mark.parametrize("call", ["renameat2", "copy_file_range"])
def test_of_two_workers_that_bring_one_original_one_succeeds_and_the_manifest_knows_it(
    inbox: Path, root: Path, tmp_path: Path, call: str
) -> None:
    file = put(inbox, "photo.jpg")
    if call == "copy_file_range":
        os.link(file, tmp_path / "a second name, so it is copied")
    manifest = root / "manifests/beach/photo.json"
    library_settings(root)
    with held_at(call, INGEST, root, inbox) as slower:
        slower.wait(lambda: manifest.exists() and (root / "originals/beach").exists())
        _, original = ingest(Library(library_settings(root)), inbox, "photo.jpg")
        assert original == "originals/beach/photo.jpg"
        assert slower.release().strip() == original
    assert manifest_at(Library(library_settings(root)), "beach/photo").original == original
    assert [name for name in tree_of(root, hidden=True) if name.startswith("originals")] == [original]
    assert tree_of(inbox, hidden=True) == {}


ARCHIVE_AS_NOBODY = """
    import sys
    from pathlib import Path
    from ingesting import ingest, library_settings
    from tasks.errors import BlockedError
    from tasks.library import Library
    become_nobody()
    try:
        print(ingest(Library(library_settings(Path(sys.argv[1]))), Path(sys.argv[2]), "photo.jpg")[1])
    except BlockedError as error:
        print("blocked:", error)
"""


@pytest.mark.root
def test_an_inbox_that_may_not_be_written_blocks_the_original_and_names_the_mode() -> None:
    with reachable_directory() as here:
        for name in ("inbox", "library"):
            (here / name).mkdir()
        (here / "library").chmod(0o777)
        file = put(here / "inbox", "photo.jpg")
        os.chown(file, NOBODY, NOBODY)
        file.chmod(0o644)
        (here / "inbox").chmod(0o555)
        printed = run_as_nobody(ARCHIVE_AS_NOBODY, here / "library", here / "inbox")
        assert printed.startswith("blocked: could not move photo.jpg")
        assert "its directory has mode 0555 and owner root (0)" in printed
        assert file.exists()
        assert not tree_of(here / "library").keys() & {"originals/beach/photo.jpg"}


@pytest.mark.root
def test_a_file_of_ours_in_somebody_elses_sticky_directory_can_be_archived() -> None:
    with reachable_directory() as here:
        for name in ("inbox", "library"):
            (here / name).mkdir()
        (here / "library").chmod(0o777)
        file = put(here / "inbox", "photo.jpg")
        os.chown(file, NOBODY, NOBODY)
        (here / "inbox").chmod(0o1777)
        assert run_as_nobody(ARCHIVE_AS_NOBODY, here / "library", here / "inbox").strip() == "originals/beach/photo.jpg"
