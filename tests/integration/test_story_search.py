"""`thumbdrop why` over real directories, a real library and a real Redis."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from config.load import load
from config.settings import Settings
from servers import RedisServer
from tasks.bysource import remember
from tasks.errors import InputError, Reason, ResourceError, TransientError
from tasks.facts import ImageFacts
from tasks.leases import Leases
from tasks.library_tree import Tree
from tasks.manifest import Manifest, Thumbnail, to_bytes
from tasks.messages import Arrival
from tasks.quarantine import Quarantine
from tasks.slots import manifest_path
from tasks.source import open_source
from waiting import wait_until
from watcher.story import Story, tell
from watcher.story_search import gather

SHA256 = "a" * 64


@pytest.fixture
def settings(tmp_path: Path, redis_server: RedisServer) -> Settings:
    redis_server.flush()
    (tmp_path / "inbox").mkdir()
    (tmp_path / "library").mkdir()
    return settings_of(tmp_path, redis_server)


def settings_of(folder: Path, redis_server: RedisServer, after: str = "archive") -> Settings:
    inbox = {"path": str(folder / "inbox"), "name": "photos", "after": after, "settle": "1m"}
    overrides = {
        "inbox": [inbox],
        "library": {"path": str(folder / "library")},
        "broker": {"url": redis_server.broker_url},
    }
    return load(environ={}, overrides=overrides).settings


@pytest.fixture
def leases(redis_server: RedisServer) -> Iterator[Leases]:
    with redis_server.client() as client:
        client.set("thumbdrop:report:photos", "{}")
        yield Leases(client, task_time_seconds=60)


def why(settings: Settings, path: str | Path, cwd: str = "/") -> Story:
    return tell(gather(settings, str(path), cwd))


def put(settings: Settings, name: str = "a/b.jpg") -> Arrival:
    file = settings.inbox[0].path / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"photo")
    facts = file.stat()
    return Arrival("photos", name, facts.st_size, facts.st_mtime_ns)


def ingest(settings: Settings, arrival: Arrival, slot: str = "a/b") -> Manifest:
    """Leave what the worker leaves of a done image; its pixels do not matter here."""
    tree = Tree(settings.library)
    thumbnail = Thumbnail(f"thumbnails/a/640x640/{slot.rpartition('/')[2]}_640x640.jpg", "640x640", 4, 3, "jpeg", 1)
    facts = ImageFacts("jpeg", 4, 3, 1, None, None, 1)
    when = "2024-05-06T07:08:09Z"
    manifest = Manifest(SHA256, arrival, facts, "r", when, 5, "a", f"originals/{slot}.jpg", (thumbnail,))
    tree.write(thumbnail.path, b"x")
    tree.write(manifest_path(slot), to_bytes(manifest))
    remember(tree, arrival, SHA256, slot)
    return manifest


def test_a_file_that_was_just_written_settles(settings: Settings, leases: Leases) -> None:
    put(settings)
    told = why(settings, settings.inbox[0].path / "a/b.jpg")
    assert told.state == "settling"
    assert 50 < told.details["settle_seconds"] <= 60


def test_a_file_that_is_being_written_says_so(settings: Settings, leases: Leases) -> None:
    quick = load(environ={}, overrides=with_settle(settings, "0.2s")).settings
    put(settings)
    with (settings.inbox[0].path / "a/b.jpg").open("ab"):
        time.sleep(0.25)  # the settle time, which is what is told apart from the writer
        assert why(quick, "a/b.jpg").details["settle_why"] == "writer"
    assert why(quick, "a/b.jpg").details.get("settle_why") in (None, "settling", "unknown_writer")


def with_settle(settings: Settings, settle: str) -> dict[str, object]:
    written = settings.as_written()
    written["inbox"][0]["settle"] = settle
    return written


@pytest.mark.parametrize("way", ["absolute", "relative to the working directory", "relative to the inbox"])
def test_the_path_may_be_given_in_three_ways(settings: Settings, leases: Leases, way: str) -> None:
    put(settings)
    root = settings.inbox[0].path
    path, cwd = {
        "absolute": (str(root / "a/b.jpg"), "/"),
        "relative to the working directory": ("b.jpg", str(root / "a")),
        "relative to the inbox": ("a/b.jpg", "/"),
    }[way]
    assert why(settings, path, cwd).state == "settling"


def test_an_inbox_may_be_named_through_a_link(settings: Settings, leases: Leases, tmp_path: Path) -> None:
    put(settings)
    (tmp_path / "link").symlink_to(settings.inbox[0].path)
    assert why(settings, tmp_path / "link" / "a" / "b.jpg").state == "settling"


def test_hostile_things_are_left_alone_and_not_opened(settings: Settings, leases: Leases) -> None:
    root = settings.inbox[0].path
    (root / "link.jpg").symlink_to("/etc/passwd")
    os.mkfifo(root / "fifo.jpg")
    (root / "folder.jpg").mkdir()
    kinds = {name: why(settings, root / name).details["kind"] for name in ("link.jpg", "fifo.jpg", "folder.jpg")}
    assert kinds == {"link.jpg": "link", "fifo.jpg": "special", "folder.jpg": "directory"}
    assert why(settings, root / "link.jpg" / "below.jpg").state == "not_a_file"


def test_a_name_that_is_not_utf_8_is_found(settings: Settings, leases: Leases) -> None:
    name = os.fsdecode(b"caf\xe9\n.jpg")
    put(settings, name)
    assert why(settings, settings.inbox[0].path / name).state == "settling"


def test_an_ignored_file_names_its_rule(settings: Settings, leases: Leases) -> None:
    put(settings, "notes.txt")
    assert why(settings, "notes.txt").details["ignored_why"] == "suffix"


def test_leases_and_retries_are_told_from_redis(settings: Settings, leases: Leases) -> None:
    arrival = put(settings)
    (verdict,) = leases.offer([arrival])
    assert why(settings, "a/b.jpg").details["lease"] == "published"
    leases.begin(arrival, verdict.token)
    told = why(settings, "a/b.jpg")
    assert told.details["lease"] == "working"
    assert told.details["lease_age_seconds"] < 10
    leases.put_off(arrival, verdict.token, TransientError("weather"), 600)
    told = why(settings, "a/b.jpg")
    assert (told.state, told.details["reason"]) == ("retrying", "io_error")


def test_a_paused_library_explains_a_complete_file(settings: Settings, leases: Leases) -> None:
    put(settings)
    quick = load(environ={}, overrides=with_settle(settings, "10ms")).settings
    leases.pause(ResourceError(Reason.NO_SPACE, "no room", "free some"))
    wait_until(lambda: why(quick, "a/b.jpg").state == "paused", "settled, and paused")


def test_a_done_file_is_found_by_every_name_it_has(settings: Settings, leases: Leases) -> None:
    arrival = put(settings)
    manifest = ingest(settings, arrival)
    (settings.inbox[0].path / "a/b.jpg").unlink()
    library = settings.library.path
    names: list[str | Path] = [settings.inbox[0].path / "a/b.jpg", "a/b.jpg", library / manifest.thumbnails[0].path]
    names += [library / "originals/a/b.jpg", library / "manifests/a/b.json"]
    for name in names:
        told = why(settings, name)
        assert told.state == "done", name
        assert told.details["source"] == "a/b.jpg"
        assert told.details["thumbnails"] == [str(library / manifest.thumbnails[0].path)] or told.details[
            "thumbnails"
        ] == (str(library / manifest.thumbnails[0].path),)


def test_a_kept_file_is_done_even_when_redis_has_forgotten(
    settings: Settings, leases: Leases, tmp_path: Path, redis_server: RedisServer
) -> None:
    keep = settings_of(tmp_path, redis_server, after="keep")
    ingest(keep, put(keep))
    assert why(keep, "a/b.jpg").state == "done"
    assert why(settings, "a/b.jpg").state == "settling", "in the other modes the same file is new work"


def test_a_quarantined_file_is_found_by_the_name_it_had_and_the_one_it_has(settings: Settings, leases: Leases) -> None:
    arrival = put(settings)
    with open_source(settings.inbox[0].path, arrival.path) as source:
        entry = Quarantine(settings).put(
            arrival,
            source,
            InputError(Reason.CORRUPT, "broken", "upload it again"),
            attempts=1,
            first_seen_at=None,
            keep=False,
        )
    assert entry
    for name in ("a/b.jpg", settings.library.path / entry.path, settings.library.path / f"{entry.path}.reason.json"):
        told = why(settings, name)
        assert (told.state, told.details["reason"], told.details["hint"]) == (
            "quarantined",
            "corrupt",
            "upload it again",
        )
        assert Path(told.details["file"]).read_bytes() == b"photo"


def test_a_missing_inbox_is_offline_and_not_empty(settings: Settings, leases: Leases) -> None:
    settings.inbox[0].path.rmdir()
    assert why(settings, "a/b.jpg").state == "offline"


def test_other_paths_are_outside_or_unknown(settings: Settings, leases: Leases) -> None:
    assert why(settings, "/etc/passwd").state == "outside"
    assert why(settings, "never-came.jpg").state == "unknown"
    assert why(settings, settings.library.path / "thumbnails/a/640x640/x_640x640.jpg").state == "outside"


def test_without_redis_the_disk_still_tells(settings: Settings, tmp_path: Path) -> None:
    written = settings.as_written()
    written["broker"]["url"] = f"redis+socket://{tmp_path}/none.sock"
    away = load(environ={}, overrides=written).settings
    put(settings)
    told = why(away, "a/b.jpg")
    assert told.state == "settling"
    assert "does not answer" in told.lines[-1]
