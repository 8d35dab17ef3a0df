"""Files that are not whole: cut-off uploads wait for their client, and damaged pictures go by the operator's rule."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from images import encoded, photo, truncated
from ingest_rig import MakeRig, Rig, jpeg
from tasks.messages import Arrival


def wait_of(rig: Rig, arrival: Arrival) -> float:
    """How long it still waits, in seconds."""
    not_before = rig.leases.record(arrival).not_before
    assert not_before is not None
    return not_before - rig.leases.now_ms() / 1000


def let_time_pass(rig: Rig, arrival: Arrival, seconds: float) -> None:
    """Make an arrival's first failure so much older; Redis's clock cannot be set."""
    key = f"thumbdrop:record:{arrival.id}"
    rig.leases.redis.hset(key, "first_at", int(rig.leases.redis.hget(key, "first_at")) - int(seconds * 1000))


@contextmanager
def being_written(path: Path) -> Iterator[None]:
    """Another process that has the file open for writing, as an upload client's server has."""
    program = "import sys; f = open(sys.argv[1], 'ab'); print('open', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", program, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "open\n"
        try:
            yield
        finally:
            child.communicate()


# -- cut off


def test_a_cut_off_upload_stays_under_its_own_name_and_is_tried_again_at_growing_intervals(rig: Rig) -> None:
    content = truncated(jpeg(120, 80))
    arrival = rig.put("trip/a.jpg", content)
    waits = []
    for tries in range(1, 7):
        outcome = rig.work(arrival)
        assert (outcome["outcome"], outcome["reason"]) == ("put_off", "truncated")
        assert rig.leases.record(arrival).tries == tries
        assert wait_of(rig, arrival) == pytest.approx(outcome["wait_seconds"], abs=1)
        waits.append(outcome["wait_seconds"])
    assert waits == [30, 120, 480, 1920, 3600, 3600]
    assert (rig.inbox / "trip/a.jpg").read_bytes() == content
    assert rig.files("") == []
    assert rig.leases.counts() == {}, "nothing has come to an end"


def test_a_resumed_upload_is_another_arrival_that_waits_for_nothing_and_ends_done(rig: Rig) -> None:
    content = jpeg(120, 80)
    cut = rig.put("a.jpg", truncated(content, 0.5))
    assert rig.work(cut)["outcome"] == "put_off"
    further = rig.put("a.jpg", truncated(content, 0.8))
    assert rig.leases.offer([cut])[0].state == "waiting"
    assert rig.work(further)["outcome"] == "put_off"
    assert rig.leases.record(further).tries == 1, "every further piece begins a new grace"
    assert [record.arrival for record in rig.leases.waiting("inbox")] == [further], "the shorter file is no more"
    assert rig.work(rig.put("a.jpg", content))["outcome"] == "done"
    assert (rig.library / "originals/uncategorized/a.jpg").read_bytes() == content
    assert rig.files("quarantine") == []
    assert rig.leases.redis.keys("thumbdrop:*") == ["thumbdrop:counts"]


def test_a_cut_off_upload_is_quarantined_as_truncated_only_after_its_grace(make_rig: MakeRig) -> None:
    rig = make_rig(truncated_grace="1h")
    arrival = rig.put("a.jpg", truncated(jpeg(120, 80)))
    rig.work(arrival)
    let_time_pass(rig, arrival, 3500)
    outcome = rig.work(arrival)
    assert outcome["outcome"] == "put_off"
    assert outcome["wait_seconds"] == pytest.approx(100, abs=5), "the next look comes as the grace ends"
    let_time_pass(rig, arrival, 101)
    assert rig.work(arrival)["outcome"] == "quarantined"
    reason = json.loads((rig.library / "quarantine/inbox/a.jpg.reason.json").read_bytes())
    assert (reason["reason"], reason["source"]["path"]) == ("truncated", "a.jpg")
    assert reason["first_seen_at"] < reason["quarantined_at"]
    assert rig.leases.record(arrival).reason == "", "whatever takes a file out of the inbox deletes its record"


def test_a_wiped_redis_only_begins_the_wait_anew(make_rig: MakeRig) -> None:
    rig = make_rig(truncated_grace="1h")
    arrival = rig.put("a.jpg", truncated(jpeg(120, 80)))
    rig.work(arrival)
    let_time_pass(rig, arrival, 3601)
    rig.leases.redis.flushdb()
    assert rig.work(arrival)["outcome"] == "put_off"
    assert (rig.inbox / "a.jpg").exists()


def test_a_cut_off_upload_with_a_writer_is_not_quarantined_however_long_it_takes(make_rig: MakeRig) -> None:
    rig = make_rig(truncated_grace="1h")
    arrival = rig.put("a.jpg", truncated(jpeg(120, 80)))
    rig.work(arrival)
    let_time_pass(rig, arrival, 10_000)
    with being_written(rig.inbox / "a.jpg"):
        outcome = rig.work(arrival)
        assert (outcome["outcome"], outcome["reason"]) == ("put_off", "truncated")
        assert "still has it open for writing" in outcome["message"]
        assert rig.leases.record(arrival).tries == 2, "the grace goes on meanwhile"
    assert rig.work(arrival)["outcome"] == "quarantined"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"hello\n", "not_an_image"),
        (b"", "empty"),
        (encoded(photo(64, 64))[:1000] + bytes(4096) + b"\xff\xd9", "corrupt"),
    ],
    ids=["text", "empty", "damaged"],
)
def test_nothing_is_judged_while_a_program_still_writes_it(rig: Rig, content: bytes, reason: str) -> None:
    arrival = rig.put("a.jpg", content)
    with being_written(rig.inbox / "a.jpg"):
        outcome = rig.work(arrival)
        assert (outcome["outcome"], outcome["reason"]) == ("put_off", "truncated")
        assert rig.files("quarantine") == []
    outcome = rig.work(arrival)
    assert (outcome["outcome"], outcome["reason"]) == ("quarantined", reason)


def test_a_cut_off_file_that_is_kept_is_left_where_it_is_with_its_reason(make_rig: MakeRig) -> None:
    rig = make_rig(truncated_grace="0s", after="keep")
    arrival = rig.put("a.jpg", truncated(jpeg(120, 80)))
    assert rig.work(arrival)["outcome"] == "quarantined"
    assert (rig.inbox / "a.jpg").exists()
    assert rig.files("quarantine") == ["inbox/a.jpg.reason.json"]


# -- damaged


def damaged(seed: int = 0) -> bytes:
    """A JPEG with 2 kB missing in its middle."""
    content = encoded(photo(900, 600, seed=seed), "jpeg", quality=92)
    middle = len(content) // 2
    return content[:middle] + content[middle + 2048 :]


def test_a_jpeg_damaged_in_the_middle_is_quarantined_and_told_what_to_do(rig: Rig) -> None:
    outcome = rig.work(rig.put("a.jpg", damaged()))
    assert (outcome["outcome"], outcome["reason"]) == ("quarantined", "corrupt")
    reason = json.loads((rig.library / "quarantine/inbox/a.jpg.reason.json").read_bytes())
    assert reason["message"].startswith("this jpeg is damaged (premature end of data segment)")
    assert 'limits.damaged = "accept"' in reason["hint"]
    assert (rig.library / "quarantine/inbox/a.jpg").read_bytes() == damaged()
    assert rig.files("thumbnails") == []


def test_with_accept_a_damaged_jpeg_is_done_and_marked_and_counted(make_rig: MakeRig) -> None:
    rig = make_rig(damaged="accept")
    outcome = rig.work(rig.put("a.jpg", damaged()))
    assert (outcome["outcome"], outcome["damage"]) == ("done", "premature end of data segment")
    assert len(rig.files("thumbnails")) == 2
    assert (rig.library / "originals/uncategorized/a.jpg").read_bytes() == damaged()
    assert rig.manifest("uncategorized/a")["image"]["damaged"] is True
    rig.work(rig.put("b.jpg", jpeg(120, 80)))
    assert rig.manifest("uncategorized/b")["image"]["damaged"] is False
    assert rig.leases.counts() == {"done": 2, "damaged": 1}


def test_an_accepted_damaged_jpeg_that_comes_again_is_a_duplicate(make_rig: MakeRig) -> None:
    rig = make_rig(damaged="accept")
    rig.work(rig.put("a.jpg", damaged()))
    assert rig.work(rig.put("a.jpg", damaged()))["outcome"] == "duplicate"
    assert rig.leases.counts() == {"done": 1, "duplicate": 1, "damaged": 1}


def test_with_accept_too_a_jpeg_that_lacks_its_end_waits_for_its_client(make_rig: MakeRig) -> None:
    rig = make_rig(damaged="accept")
    outcome = rig.work(rig.put("a.jpg", truncated(damaged(), 0.9)))
    assert (outcome["outcome"], outcome["reason"]) == ("put_off", "truncated")
