"""Images that go the worker's steps together: as if each had gone them alone, and no one's bad end is another's."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from images import truncated
from ingest_rig import Rig, jpeg
from tasks import ingest
from tasks.far_source import FarSource
from tasks.messages import Arrival, to_message
from tasks.source import Source


def messages(rig: Rig, *arrivals: Arrival) -> list[dict[str, Any]]:
    """Publish them all."""
    verdicts = rig.leases.offer(arrivals)
    assert {verdict.state for verdict in verdicts} == {"published"}
    return [to_message(verdict.arrival, verdict.token) for verdict in verdicts]


def work_together(rig: Rig, *arrivals: Arrival) -> list[str]:
    """Do them together; the outcomes that the result store has."""
    with rig.ingest.together():
        for message in messages(rig, *arrivals):
            rig.ingest.ingest(message)
    assert set(rig.leases.states([arrival.id for arrival in arrivals])) == {""}
    stored = [rig.leases.redis.get(f"celery-task-meta-{arrival.id}") for arrival in arrivals]
    return [json.loads(text)["result"]["outcome"] for text in stored]


def test_every_image_of_a_batch_ends_as_it_would_have_alone(make_rig: Any) -> None:
    rig = make_rig(truncated_grace="1h")
    contents = {
        "a.jpg": jpeg(120, 80),
        "text.jpg": b"hello\n",
        "b/c.jpg": jpeg(80, 120),
        "cut.jpg": truncated(jpeg(120, 80, seed=1)),
        "d.jpg": jpeg(90, 90),
    }
    work_together(rig, rig.put("b/first.jpg", jpeg(60, 60)))  # opens what stays open: connections
    gone = rig.put("gone.jpg", jpeg(50, 50))
    arrivals = [rig.put(name, content) for name, content in contents.items()]
    (rig.inbox / "gone.jpg").unlink()
    open_before = len(os.listdir("/proc/self/fd"))
    outcomes = work_together(rig, arrivals[0], gone, *arrivals[1:])
    assert outcomes == ["done", "put_off", "quarantined", "done", "put_off", "done"]
    assert rig.files("originals") == ["b/c.jpg", "b/first.jpg", "uncategorized/a.jpg", "uncategorized/d.jpg"]
    assert len(rig.files("thumbnails")) == 8
    assert not [name for name in rig.files("") if "/.thumbdrop" in name or name.endswith(".claim")]
    assert rig.leases.counts() == {"done": 4, "quarantined": 1}
    assert [rig.leases.record(arrival).attempts for arrival in (*arrivals, gone)] == [0] * 6
    assert len(os.listdir("/proc/self/fd")) == open_before


def test_the_same_content_and_the_same_name_in_one_batch_end_as_they_would_have_one_after_the_other(rig: Rig) -> None:
    same = jpeg(120, 80)
    arrivals = [
        rig.put("a.jpg", same),
        rig.put("a.JPG", same),
        rig.put("a.jpeg", jpeg(80, 120)),
        rig.put("copy.jpg", same),
    ]
    assert work_together(rig, *arrivals) == ["done", "duplicate", "done", "done"]
    slots = [
        json.loads((rig.library / f"manifests/{name}").read_bytes())
        for name in rig.files("manifests")
        if name[0] != "."
    ]
    assert len({manifest["sha256"] for manifest in slots}) == 2
    assert len(slots) == 3, "the same bytes under the same stem are one image"
    assert {manifest["original"] for manifest in slots} == {f"originals/{name}" for name in rig.files("originals")}
    for manifest in slots:
        content = (rig.library / manifest["original"]).read_bytes()
        assert content in (same, jpeg(80, 120))
        assert all((rig.library / one["path"]).stat().st_size == one["size_bytes"] for one in manifest["thumbnails"])
    assert [path for path in rig.inbox.rglob("*") if path.is_file()] == []


def test_nothing_is_done_before_the_disk_has_it_and_redis_hears_of_all_at_once(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrivals = [rig.put(f"{n}.jpg", jpeg(100 + n, 80)) for n in range(3)]
    assert rig.work(rig.put("first.jpg", jpeg(60, 60)))["outcome"] == "done", "the folders are there"
    synced: list[str] = []
    fsync = os.fsync

    def watched(fd: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{fd}"))
        assert rig.leases.counts() == {"done": 1}
        fsync(fd)

    monkeypatch.setattr(os, "fsync", watched)
    with rig.ingest.together():
        for message in messages(rig, *arrivals):
            assert rig.ingest.ingest(message) == {"outcome": "begun"}
        assert [path for path in synced if Path(path).is_file()] == []
        assert rig.files("manifests/uncategorized") == [*(f".{n}.claim" for n in range(3)), "first.json"]
        synced.clear()
    folders = [path for path in synced if Path(path).is_dir()]
    assert sorted(folders) == sorted(set(folders)), "each folder once for all"
    assert len(synced) - len(folders) == 3 * 5, "two thumbnails, two records and the original of each"
    assert rig.leases.counts() == {"done": 4}


def test_who_is_decoded_is_to_blame_for_its_child_and_who_waits_for_the_disk_is_not(rig: Rig) -> None:
    first, second, third = (rig.put(f"{n}.jpg", jpeg(100 + n, 80)) for n in range(3))
    tell = messages(rig, first, second, third)

    def end_in_the_midst() -> None:
        with rig.ingest.together():
            for message in tell[:2]:
                rig.ingest.ingest(message)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        end_in_the_midst()
    assert rig.leases.states([first.id, second.id, third.id]) == ["working", "working", "published"]
    assert [rig.leases.record(one).vanished for one in (first, second)] == [0, 1]
    given_back = [
        rig.leases.give_back(one, message["token"], only_decoded=True)
        for one, message in zip([first, second], tell, strict=False)
    ]
    assert given_back == [True, False]
    assert rig.leases.states([first.id, second.id]) == ["", "working"]
    assert rig.files("thumbnails") == []
    assert work_together(rig, first) == ["done"], "its claim is found again"


def test_a_large_image_is_not_left_waiting_with_others(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its original may have to be copied: they would share the time that one may take."""
    monkeypatch.setattr(ingest, "_LARGE_BYTES", 1000)
    arrivals = [rig.put(f"{n}.jpg", jpeg(400 + n, 300)) for n in range(3)]
    with rig.ingest.together():
        for number, message in enumerate(messages(rig, *arrivals), 1):
            rig.ingest.ingest(message)
            assert rig.leases.counts() == {"done": number}


def test_who_is_told_to_stop_and_crashes_all_the_same_is_to_blame(rig: Rig) -> None:
    arrival = rig.put("a.jpg", jpeg(100, 80))
    (message,) = messages(rig, arrival)
    assert rig.leases.begin(arrival, message["token"]) is not None
    assert rig.leases.excuse(arrival, message["token"])
    assert not rig.leases.give_back(arrival, message["token"], only_decoded=True)


def test_an_image_of_an_inbox_that_opens_one_file_at_a_time_waits_for_no_other(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As those of network file systems: tasks/far_end.py."""
    assert FarSource.is_alone
    monkeypatch.setattr(Source, "is_alone", True)
    arrivals = [rig.put(f"{n}.jpg", jpeg(100 + n, 80)) for n in range(3)]
    with rig.ingest.together():
        for number, message in enumerate(messages(rig, *arrivals), 1):
            rig.ingest.ingest(message)
            assert rig.leases.counts() == {"done": number}


def test_a_disk_that_fails_for_one_image_lets_the_others_end(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    arrivals = [rig.put(name, jpeg(100, 80, seed)) for seed, name in enumerate(["a/1.jpg", "b/2.jpg", "a/3.jpg"])]
    fsync = os.fsync

    def failing(fd: int) -> None:
        if os.readlink(f"/proc/self/fd/{fd}").endswith("manifests/b"):
            raise OSError(5, "Input/output error")
        fsync(fd)

    monkeypatch.setattr(os, "fsync", failing)
    assert work_together(rig, *arrivals) == ["done", "put_off", "done"]
    assert rig.leases.record(arrivals[1]).reason == "io_error"
    assert (rig.inbox / "b/2.jpg").exists()
    monkeypatch.undo()
    rig.leases.redis.delete("thumbdrop:due:inbox", "thumbdrop:pause")
    assert work_together(rig, arrivals[1]) == ["duplicate"], "its manifest has its name"
    assert len(rig.files("originals")) == 3
