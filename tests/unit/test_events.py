import pytest

from watcher.collector import HintKind
from watcher.events import Events
from watcher.names import Names


class Heard(list[tuple[str, HintKind]]):
    def __call__(self, path: str, kind: HintKind) -> None:
        self.append((path, kind))


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def events(heard: Heard) -> Events:
    return Events("/in", Names(("raw/",), ("jpg",)), heard)


def test_only_candidates_and_the_directories_that_may_hold_them_give_hints(events: Events, heard: Heard) -> None:
    for path in ("/in/.a.jpg.Xy12Ab", "/in/a.jpg.part", "/in/a.txt", "/in/raw/a.jpg", "/in/.git/a.jpg"):
        events.created(path, 0)
        events.closed(path)
        events.moved_in(path)
        events.changed_attributes(path)
        events.moved_out(path)
    events.directory_appeared("/in/raw")
    events.directory_appeared("/in/.thumbdrop-removing-1")
    assert heard == []
    events.directory_appeared("/in/b.txt")
    events.directory_appeared("/in")
    events.moved_in("/in/b/a.jpg")
    assert heard == [("b.txt", "directory"), ("", "directory"), ("b/a.jpg", "moved_in")]


@pytest.mark.parametrize("temporary", ["/in/b/a.jpg.filepart", "/in/b/.in.a.jpg.", "/in/b/upload-123", "/in/b/.x"])
def test_an_sftp_rename_is_a_creation_followed_by_the_end_of_a_temporary_name(
    events: Events, heard: Heard, temporary: str
) -> None:
    events.created("/in/b/a.jpg", 10.0)
    events.deleted(temporary, 10.01)
    assert heard == [("b/a.jpg", "touched"), ("b/a.jpg", "renamed")]
    events.deleted(temporary, 10.02)
    assert len(heard) == 2


def test_of_two_created_names_the_one_that_the_temporary_name_holds_was_renamed(events: Events, heard: Heard) -> None:
    events.created("/in/a.jpg", 10.0)
    events.created("/in/b.jpg", 10.0)
    events.deleted("/in/a.jpg.filepart", 10.01)
    assert heard[-1] == ("a.jpg", "renamed")
    events.deleted("/in/.b.jpg.XXXXXX", 10.01)
    assert heard[-1] == ("b.jpg", "renamed")


@pytest.mark.parametrize(
    ("deleted", "at"),
    [
        ("/in/c/a.jpg.part", 10.0),  # in another directory
        ("/in/b/a.jpg.part", 11.0),  # long after
        ("/in/b/other.jpg", 10.0),  # no temporary name
    ],
)
def test_other_deletions_are_no_renames(events: Events, heard: Heard, deleted: str, at: float) -> None:
    events.created("/in/b/a.jpg", 10.0)
    events.deleted(deleted, at)
    assert ("b/a.jpg", "renamed") not in heard


def test_a_file_that_was_closed_was_written_in_place(events: Events, heard: Heard) -> None:
    events.created("/in/a.jpg", 10.0)
    events.closed("/in/a.jpg")
    events.deleted("/in/a.jpg.part", 10.0)
    assert heard[-1] == ("a.jpg", "closed")


def test_a_million_creations_are_not_remembered(events: Events) -> None:
    for number in range(1000):
        events.created(f"/in/{number}.jpg", 10.0)
    assert len(events._renames._created) == 64
