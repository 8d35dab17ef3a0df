import os
import socket
import time
from pathlib import Path

import pytest

from unprivileged import reachable_directory, run_as_nobody
from watcher.names import MAX_DEPTH, Names
from watcher.sighting import Sighting
from watcher.walk import Walk, see

NAMES = Names((), ("jpg", "png"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    return inbox


def drop(root: Path, *paths: str) -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(b"photo")


def walk_all(root: Path, names: Names = NAMES, below: str = "") -> tuple[list[str], Walk]:
    walk = Walk(str(root), names, below)
    found: list[str] = []
    while not walk.finished:
        found += [sighting.path for sighting in walk.pull(limit=3, seconds=10)]
    return sorted(found), walk


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_a_walk_finds_every_candidate_once_and_counts_the_rest_by_reason(root: Path) -> None:
    drop(root, "a.jpg", "b/c/d.png", "b/e.jpg", ".hidden.jpg", "x.tmp", "notes.txt", "@eaDir/a.jpg", ".git/a.jpg")
    found, walk = walk_all(root)
    assert found == ["a.jpg", "b/c/d.png", "b/e.jpg"]
    assert walk.ignored == {"hidden": 2, "temporary": 1, "suffix": 1, "ignored": 1}
    assert walk.directories == 3
    assert walk.seen == 10
    assert walk.progress().finished


def test_a_sighting_tells_what_lstat_tells(root: Path) -> None:
    drop(root, "b/a.jpg")
    facts = (root / "b/a.jpg").lstat()
    expected = Sighting("b/a.jpg", 5, facts.st_mtime_ns, facts.st_ctime_ns, facts.st_ino, facts.st_uid)
    assert see(str(root), "b/a.jpg") == expected
    with Walk(str(root), NAMES) as walk:
        assert walk.pull(10, 10) == [expected]


def test_links_fifos_and_sockets_are_counted_and_never_followed(root: Path, tmp_path: Path) -> None:
    drop(tmp_path, "outside/secret.jpg")
    (root / "link.jpg").symlink_to(tmp_path / "outside/secret.jpg")
    (root / "dir").symlink_to(tmp_path / "outside")
    (root / "photos.jpg").symlink_to(tmp_path / "outside")
    os.mkfifo(root / "fifo.jpg")
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(root / "s.jpg"))
        found, walk = walk_all(root)
    assert found == []
    assert walk.ignored == {"not_regular": 4, "suffix": 1}
    for path in ("link.jpg", "dir", "photos.jpg", "fifo.jpg", "s.jpg", "dir/secret.jpg", "photos.jpg/secret.jpg"):
        assert see(str(root), path) == "not_regular"
    assert walk_all(root, below="dir")[1].ignored == {"not_regular": 1}


def test_a_directory_swapped_for_a_link_in_mid_walk_is_not_followed(root: Path, tmp_path: Path) -> None:
    drop(tmp_path, "outside/secret.jpg")
    drop(root, *(f"{number}/a.jpg" for number in range(5)))
    walk = Walk(str(root), NAMES)
    first = walk.pull(1, 10)[0].path
    for number in set("01234") - {first[0]}:
        (root / number / "a.jpg").unlink()
        (root / number).rmdir()
        (root / number).symlink_to(tmp_path / "outside")
    assert walk.pull(10, 10) == []
    assert walk.finished
    assert walk.ignored == {"not_regular": 4}


def test_a_path_that_leads_out_of_the_root_shows_nothing(root: Path, tmp_path: Path) -> None:
    drop(tmp_path, "a.jpg")
    for path in ("../a.jpg", "b/../../a.jpg", "", ".", "/etc/hosts"):
        assert see(str(root), path) == "not_regular"
    assert see(str(root), "a.jpg") == "gone"
    assert see(str(root), "b/a.jpg") == "gone"


def test_a_walk_is_pulled_by_count_and_by_time(root: Path) -> None:
    drop(root, *(f"{number}.jpg" for number in range(20)))
    with Walk(str(root), NAMES) as walk:
        assert len(walk.pull(limit=7, seconds=10)) == 7
        assert walk.seen == 7
        assert len(walk.pull(limit=10, seconds=0)) == 1  # always one step forward
        assert len(walk.pull(limit=100, seconds=10)) == 12
        assert walk.finished
        assert walk.pull(limit=1, seconds=1) == []


def test_a_walk_over_many_files_holds_few_descriptors_and_closes_them(root: Path) -> None:
    drop(root, "/".join(["d"] * MAX_DEPTH) + "/deep.jpg")
    (root / "/".join(["d"] * MAX_DEPTH) / "deeper").mkdir()
    before = open_descriptors()
    walk = Walk(str(root), NAMES)
    assert [len(sighting.path.split("/")) for sighting in walk.pull(1, 10)] == [MAX_DEPTH + 1]
    assert open_descriptors() - before == 2 * (MAX_DEPTH + 1)
    walk.close()
    assert open_descriptors() == before
    _, walk = walk_all(root)
    assert walk.ignored == {"too_deep": 1}
    assert open_descriptors() == before


def test_what_vanishes_in_mid_walk_is_counted_as_gone(root: Path) -> None:
    drop(root, "b/c/a.jpg", "b/d/a.jpg")
    walk = Walk(str(root), NAMES)
    first = Path(walk.pull(1, 10)[0].path)
    other = root / "b" / ("d" if first.parts[1] == "c" else "c")
    (other / "a.jpg").unlink()
    other.rmdir()
    assert walk.pull(10, 10) == []
    assert walk.ignored == {"gone": 1}


def test_a_directory_that_may_not_be_read_costs_only_itself() -> None:
    with reachable_directory() as inbox:
        drop(inbox, "a.jpg", "locked/b.jpg", "passable/c.jpg")
        (inbox / "locked").chmod(0)
        (inbox / "passable").chmod(0o111)
        told = run_as_nobody(
            """
            import sys
            from watcher.names import Names
            from watcher.walk import Walk, see
            become_nobody()
            walk = Walk(sys.argv[1], Names((), ("jpg",)))
            print([sighting.path for sighting in walk.pull(10, 10)])
            print(dict(walk.ignored))
            print("\\n".join(sorted(walk.unreadable)))
            print(see(sys.argv[1], "locked/b.jpg"), type(see(sys.argv[1], "passable/c.jpg")).__name__)
            """,
            inbox,
        )
        (inbox / "locked").chmod(0o755)
        (inbox / "passable").chmod(0o755)
    assert [line.partition(" and owner")[0] for line in told.splitlines()] == [
        "['a.jpg']",
        "{'unreadable': 2}",
        "locked: Permission denied, 'locked' has mode 0000",
        "passable: Permission denied, 'passable' has mode 0111",
        "unreadable Sighting",  # entering is enough for a look at a known name
    ]


def test_a_walk_below_a_directory_sees_only_that(root: Path) -> None:
    drop(root, "a.jpg", "b/c/d.jpg", "b/e.jpg", ".cache/x.jpg")
    assert walk_all(root, below="b")[0] == ["b/c/d.jpg", "b/e.jpg"]
    assert walk_all(root, below="b/c")[0] == ["b/c/d.jpg"]
    assert walk_all(root, below="gone")[1].ignored == {"gone": 1}
    assert walk_all(root, below=".cache")[1].ignored == {"hidden": 1}
    assert walk_all(root, below="..")[0] == []


def test_a_root_that_is_missing_or_a_link_is_an_error(root: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(root)
    for path in (tmp_path / "missing", tmp_path / "link"):
        with pytest.raises(OSError):  # noqa: PT011 - which one depends on the kind of thing
            Walk(str(path), NAMES)
    assert open_descriptors() < 100


def test_names_that_are_not_utf_8_or_hold_newlines_are_found(root: Path) -> None:
    raw = os.fsencode(root)
    for name in (b"caf\xe9.jpg", b"new\nline.jpg"):
        with open(raw + b"/" + name, "wb"):
            pass
    found, _ = walk_all(root)
    assert {os.fsencode(path) for path in found} == {b"caf\xe9.jpg", b"new\nline.jpg"}
    assert all(isinstance(see(str(root), path), Sighting) for path in found)


def test_thirty_thousand_files_are_walked_within_two_seconds(root: Path) -> None:
    for number in range(30_000):
        os.close(os.open(root / f"{number}.jpg", os.O_CREAT | os.O_WRONLY))
    began = time.monotonic()
    with Walk(str(root), NAMES) as walk:
        assert sum(len(walk.pull(1000, 1)) for _ in range(40)) == 30_000
    assert time.monotonic() - began < 2
