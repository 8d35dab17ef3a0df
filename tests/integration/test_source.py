"""The file in the inbox: opened without being led astray, taken away only when it is still the file that was read."""

import hashlib
import os
import socket
import time
from pathlib import Path

import pytest

from ingesting import tree_of
from needs import missing
from straced import held_at, run_with
from tasks.errors import BlockedError, GoneError, TransientError
from tasks.leftovers import REMOVING
from tasks.source import Source, is_same_mtime, open_source, put_back_leftovers
from unprivileged import NOBODY, reachable_directory, run_as_nobody

LATER = 10**10
STRANGE_NAMES = [
    "photo.jpg",
    "a/b/c.jpg",
    "new\nline.jpg",
    os.fsdecode(b"not-utf8-\xff\xfe.jpg"),
    "n" * 251 + ".jpg",
    "\x1b[31mred.jpg",
    " ",
]


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    (tmp_path / "inbox").mkdir()
    return tmp_path / "inbox"


def put(inbox: Path, path: str, content: bytes = b"photo") -> Path:
    file = inbox / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    return file


def names_in(inbox: Path) -> list[str]:
    return sorted(os.listdir(inbox))


@pytest.mark.parametrize("name", STRANGE_NAMES)
def test_any_name_can_be_opened_read_and_removed(inbox: Path, name: str) -> None:
    put(inbox, name)
    with open_source(inbox, name) as source:
        assert source.file.read() == b"photo"
        assert source.sha256() == hashlib.sha256(b"photo").hexdigest()
        assert source.is_unchanged()
        assert source.stands()
        assert source.remove()
    assert not (inbox / name).exists()
    assert not [entry for entry in os.listdir((inbox / name).parent) if entry.startswith(".")]


@pytest.mark.parametrize(
    "path", ["", "/etc/passwd", "../secret", "a/../../secret", "a//b", "./photo.jpg", "a/", "a\0b"]
)
def test_a_path_that_could_lead_out_of_the_inbox_is_refused(inbox: Path, path: str) -> None:
    put(inbox.parent, "secret")
    put(inbox, "photo.jpg")
    with pytest.raises(GoneError, match="does not lead below the inbox"):
        open_source(inbox, path)


def test_links_are_not_followed_neither_as_file_nor_on_the_way(inbox: Path) -> None:
    secret = put(inbox.parent, "outside/secret.jpg")
    (inbox / "link.jpg").symlink_to(secret)
    (inbox / "folder").symlink_to(secret.parent)
    for path in ("link.jpg", "folder/secret.jpg"):
        with pytest.raises(GoneError):
            open_source(inbox, path)
    assert names_in(inbox) == ["folder", "link.jpg"]


def test_what_is_no_regular_file_is_left_alone_without_waiting_for_it(inbox: Path) -> None:
    os.mkfifo(inbox / "fifo.jpg")
    (inbox / "directory.jpg").mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.fspath(inbox / "socket.jpg"))
    for name in names_in(inbox):
        with pytest.raises(GoneError, match="not a regular file"):
            open_source(inbox, name)
    assert names_in(inbox) == ["directory.jpg", "fifo.jpg", "socket.jpg"]


def test_a_missing_file_is_gone_but_a_missing_inbox_says_nothing_about_its_files(inbox: Path) -> None:
    with pytest.raises(GoneError):
        open_source(inbox, "missing.jpg")
    with pytest.raises(GoneError):
        open_source(inbox, "missing/photo.jpg")
    with pytest.raises(TransientError, match="could not open the inbox"):
        open_source(inbox / "away", "photo.jpg")


def test_the_hash_is_of_the_content_and_leaves_the_reading_position_alone(inbox: Path) -> None:
    put(inbox, "photo.jpg", b"x" * 3_000_000)
    with open_source(inbox, "photo.jpg") as source:
        assert source.file.read(10) == b"x" * 10
        assert source.sha256() == hashlib.sha256(b"x" * 3_000_000).hexdigest()
        assert len(source.file.read()) == 3_000_000 - 10


def test_every_change_of_the_open_file_is_seen_even_with_the_old_mtime(inbox: Path) -> None:
    file = put(inbox, "photo.jpg", b"one")
    with open_source(inbox, "photo.jpg") as source:
        before = source.stat
        file.write_bytes(b"two")
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert not source.is_unchanged()
        assert not source.remove()
    assert file.read_bytes() == b"two"


def test_a_file_that_was_replaced_stays(inbox: Path) -> None:
    file = put(inbox, "photo.jpg", b"old")
    with open_source(inbox, "photo.jpg") as source:
        os.replace(put(inbox, "upload", b"new"), file)
        assert not source.stands()
        assert not source.remove()
    assert file.read_bytes() == b"new"
    assert names_in(inbox) == ["photo.jpg"]


def test_a_file_that_is_gone_is_not_removed(inbox: Path) -> None:
    file = put(inbox, "photo.jpg")
    with open_source(inbox, "photo.jpg") as source:
        file.unlink()
        assert not source.stands()
        assert not source.remove()


REMOVE = """
    import sys
    from pathlib import Path
    from tasks.source import open_source
    with open_source(Path(sys.argv[1]), "photo.jpg") as source:
        print(source.remove())
"""


def held_aside(inbox: Path) -> list[Path]:
    return [inbox / name for name in os.listdir(inbox) if REMOVING.fullmatch(name)]


def test_a_file_uploaded_between_the_last_look_and_the_removal_goes_back(inbox: Path) -> None:
    put(inbox, "photo.jpg", b"old")
    with held_at("renameat", REMOVE, inbox) as removal:
        removal.wait(lambda: held_aside(inbox))
        os.replace(put(inbox, "upload", b"new"), inbox / "photo.jpg")
        assert removal.release().strip() == "False"
    assert (inbox / "photo.jpg").read_bytes() == b"new"
    assert names_in(inbox) == ["photo.jpg"]


def test_an_upload_during_a_removal_stays(inbox: Path) -> None:
    put(inbox, "photo.jpg", b"old")
    with held_at("unlinkat", REMOVE, inbox) as removal:
        removal.wait(lambda: held_aside(inbox) and not (inbox / "photo.jpg").exists())
        put(inbox, "photo.jpg", b"second")
        assert removal.release().strip() == "True"
    assert (inbox / "photo.jpg").read_bytes() == b"second"
    assert names_in(inbox) == ["photo.jpg"]


def test_a_write_through_an_open_handle_during_a_removal_brings_the_file_back(inbox: Path) -> None:
    file = put(inbox, "photo.jpg", b"old")
    with file.open("ab") as writer, held_at("renameat", REMOVE, inbox) as removal:
        removal.wait(lambda: held_aside(inbox))
        writer.write(b" and more")
        writer.flush()
        assert removal.release().strip() == "False"
    assert file.read_bytes() == b"old and more"
    assert names_in(inbox) == ["photo.jpg"]


def leave_behind(inbox: Path, folder: str, name: str, content: bytes) -> Path:
    """What a crash in the middle of a removal leaves."""
    hidden = inbox / folder / ".thumbdrop-removing-0123456789abcdef"
    hidden.mkdir(parents=True, exist_ok=True)
    (hidden / name).write_bytes(content)
    return hidden


def test_what_a_crash_left_in_a_removal_goes_back_to_its_name(inbox: Path) -> None:
    name = os.fsdecode(b"\xff\n.jpg")
    hidden = leave_behind(inbox, "a/b", name, b"held")
    assert put_back_leftovers(inbox, older_than_seconds=60, now=time.time() + 61) == 1
    assert (inbox / "a/b" / name).read_bytes() == b"held"
    assert not hidden.exists()


def test_a_leftover_whose_name_is_taken_goes_back_beside_it(inbox: Path) -> None:
    hidden = leave_behind(inbox, ".", "photo.jpg", b"old")
    put(inbox, "photo.jpg", b"new")
    assert put_back_leftovers(inbox, older_than_seconds=0, now=time.time() + 1) == 1
    assert not hidden.exists()
    assert sorted(path.read_bytes() for path in inbox.iterdir()) == [b"new", b"old"]
    assert all(name.startswith("photo") and name.endswith(".jpg") for name in names_in(inbox))


def test_a_removal_that_is_going_on_is_left_alone(inbox: Path) -> None:
    hidden = leave_behind(inbox, ".", "photo.jpg", b"held")
    assert put_back_leftovers(inbox, older_than_seconds=60) == 0
    assert (hidden / "photo.jpg").exists()


def test_an_empty_leftover_is_removed_and_a_link_in_the_tree_not_followed(inbox: Path) -> None:
    hidden = inbox / ".thumbdrop-removing-0123456789abcdef"
    hidden.mkdir()
    outside = leave_behind(inbox.parent, "outside", "photo.jpg", b"not ours")
    (inbox / "link").symlink_to(outside.parent)
    assert put_back_leftovers(inbox, older_than_seconds=0, now=time.time() + 1) == 0
    assert not hidden.exists()
    assert (outside / "photo.jpg").exists()


def test_no_leftovers_in_a_missing_inbox(inbox: Path) -> None:
    assert put_back_leftovers(inbox / "away", older_than_seconds=0) == 0


@pytest.mark.root
def test_a_full_inbox_can_still_be_emptied(inbox: Path) -> None:
    if os.system(f"mount -t tmpfs -o size=1m,nr_inodes=3 none {inbox}"):  # the root directory is one of the three
        missing("cannot mount a tmpfs")
    try:
        put(inbox, "one.jpg")
        put(inbox, "two.jpg")
        with pytest.raises(OSError, match="No space left"):
            (inbox / "third").mkdir()
        with open_source(inbox, "one.jpg") as source:
            assert source.remove()
        assert names_in(inbox) == ["two.jpg"]
    finally:
        os.system(f"umount {inbox}")


def test_a_file_that_may_not_be_read_is_blocked_and_its_mode_and_owner_are_named() -> None:
    with reachable_directory() as inbox:
        put(inbox, "photo.jpg").chmod(0o600 if os.geteuid() == 0 else 0o000)
        text = run_as_nobody(OPEN_AND_REMOVE, inbox)
    assert "'photo.jpg' has mode 0600" in text if os.geteuid() == 0 else "'photo.jpg' has mode 0000" in text
    assert f"owner {'root (0)' if os.geteuid() == 0 else ''}" in text


def test_a_file_that_may_not_be_moved_is_blocked_and_stays() -> None:
    with reachable_directory() as inbox:
        put(inbox, "photo.jpg").chmod(0o644)
        inbox.chmod(0o555)
        text = run_as_nobody(OPEN_AND_REMOVE, inbox)
        assert (inbox / "photo.jpg").exists()
        inbox.chmod(0o755)
    assert "its directory has mode 0555" in text


OPEN_AND_REMOVE = """
    import sys
    from pathlib import Path
    from tasks.errors import BlockedError
    from tasks.source import open_source
    become_nobody()
    try:
        with open_source(Path(sys.argv[1]), "photo.jpg") as source:
            source.remove()
    except BlockedError as error:
        print(error)
"""


def moved(source: Source, target: Path, name: str) -> bool:
    fd = os.open(target, os.O_RDONLY)
    try:
        return source.move_into(fd, name)
    finally:
        os.close(fd)


def test_a_file_moves_to_a_free_name_and_never_onto_an_occupied_one(inbox: Path, tmp_path: Path) -> None:
    put(inbox, "photo.jpg")
    put(tmp_path, "taken.jpg", b"another")
    with open_source(inbox, "photo.jpg") as source:
        with pytest.raises(FileExistsError):
            moved(source, tmp_path, "taken.jpg")
        assert source.stands()
        assert moved(source, tmp_path, "free.jpg")
    assert (tmp_path / "taken.jpg").read_bytes() == b"another"
    assert (tmp_path / "free.jpg").read_bytes() == b"photo"
    assert names_in(inbox) == []


def test_a_missing_target_directory_is_not_mistaken_for_a_missing_file(inbox: Path, tmp_path: Path) -> None:
    put(inbox, "photo.jpg")
    target = tmp_path / "target"
    target.mkdir()
    fd = os.open(target, os.O_RDONLY)
    target.rmdir()
    with open_source(inbox, "photo.jpg") as source, pytest.raises(FileNotFoundError):
        source.move_into(fd, "photo.jpg")
    os.close(fd)


MOVE = """
    import os, sys
    from pathlib import Path
    from tasks.source import open_source
    with open_source(Path(sys.argv[1]), "photo.jpg") as source:
        fd = os.open(sys.argv[2], os.O_RDONLY)
        for name in ("taken.jpg", "free.jpg"):
            try:
                print(source.move_into(fd, name))
            except FileExistsError:
                print("taken")
"""


@pytest.mark.parametrize("also", [[], ["linkat,link:error=EPERM"]])
def test_without_renameat2_a_file_moves_just_as_safely(inbox: Path, tmp_path: Path, also: list[str]) -> None:
    put(inbox, "photo.jpg")
    put(tmp_path, "taken.jpg", b"another")
    printed = run_with(["renameat2:error=EINVAL", *also], MOVE, inbox, tmp_path)
    assert printed.split() == ["taken", "True"]
    assert (tmp_path / "taken.jpg").read_bytes() == b"another"
    assert (tmp_path / "free.jpg").read_bytes() == b"photo"
    assert names_in(inbox) == []


def test_a_file_that_was_swapped_in_during_the_move_goes_back(inbox: Path, tmp_path: Path) -> None:
    put(inbox, "photo.jpg", b"old")
    with held_at("renameat2", MOVE, inbox, tmp_path) as move:
        move.wait(lambda: move.has_open(inbox / "photo.jpg"))
        os.replace(put(inbox, "upload", b"new"), inbox / "photo.jpg")
        assert move.release().split() == ["False", "False"]
    assert tree_of(inbox) == {"photo.jpg": b"new"}
    assert not (tmp_path / "taken.jpg").exists()
    assert not (tmp_path / "free.jpg").exists()


@pytest.mark.parametrize(
    ("one_ns", "other_ns", "same"),
    [
        (1_700_000_000_123_456_789, 1_700_000_000_123_456_789, True),
        (1_700_000_000_123_456_789, 1_700_000_000_123_456_788, False),
        (1_700_000_000_123_456_789, 1_700_000_000_000_000_000, True),  # sshfs: whole seconds
        (1_700_000_000_123_456_789, 1_700_000_001_000_000_000, False),
        (1_700_000_000_123_456_789, 1_700_000_000_123_456_700, True),  # SMB: 100 ns
        (1_700_000_000_123_456_789, 1_700_000_000_123_456_600, False),
    ],
)
def test_mtimes_are_compared_at_the_coarser_granularity(one_ns: int, other_ns: int, same: bool) -> None:
    assert is_same_mtime(one_ns, other_ns) is same
    assert is_same_mtime(other_ns, one_ns) is same


@pytest.mark.root
def test_a_device_is_not_opened(inbox: Path) -> None:
    try:
        os.mknod(inbox / "zero.jpg", 0o666 | 0o020000, os.makedev(1, 5))
    except PermissionError:
        missing("may not make devices")
    with pytest.raises(GoneError, match="not a regular file"):
        open_source(inbox, "zero.jpg")


def test_another_users_file_is_removed_where_the_directory_allows_it() -> None:
    if os.geteuid() != 0:
        missing("needs to be root")
    with reachable_directory() as inbox:
        os.chown(put(inbox, "photo.jpg"), 0, 0)
        os.chown(inbox, NOBODY, NOBODY)
        assert run_as_nobody(OPEN_AND_REMOVE, inbox) == ""
        assert names_in(inbox) == []


def test_blocked_is_what_comes_out_of_a_read_only_inbox(inbox: Path) -> None:
    put(inbox, "photo.jpg")
    printed = run_with(["mkdirat,mkdir:error=EROFS"], REMOVE_BLOCKED, inbox)
    assert printed.strip() == BlockedError.__name__


REMOVE_BLOCKED = """
    import sys
    from pathlib import Path
    from tasks.source import open_source
    with open_source(Path(sys.argv[1]), "photo.jpg") as source:
        try:
            source.remove()
        except Exception as error:
            print(type(error).__name__)
"""
