"""The worker's steps on real files with a real Redis: how each arrival ends, and what is remembered of it."""

import json
import os
from typing import Any

import pytest

from images import png_bomb, truncated
from ingest_rig import Rig, jpeg
from servers import RedisServer
from tasks.errors import IngestError, Reason
from tasks.messages import to_message


def test_a_good_image_ends_done_with_every_size_and_its_original_archived(rig: Rig) -> None:
    content = jpeg(120, 80)
    arrival = rig.put("trip/a.jpg", content)
    outcome = rig.work(arrival)
    assert (outcome["outcome"], outcome["slot"], outcome["original"]) == ("done", "trip/a", "originals/trip/a.jpg")
    assert rig.files("thumbnails") == ["trip/32x32/a_32x32.jpg", "trip/64x64/a_64x64.jpg"]
    assert (rig.library / "originals/trip/a.jpg").read_bytes() == content
    assert not (rig.inbox / "trip/a.jpg").exists()
    assert sorted(rig.leases.redis.keys("*")) == [f"celery-task-meta-{arrival.id}", "thumbdrop:counts"]
    assert json.loads(rig.leases.redis.get(f"celery-task-meta-{arrival.id}"))["result"] == outcome


def test_the_same_bytes_under_the_same_name_again_leave_the_outputs_untouched(rig: Rig) -> None:
    content = jpeg(120, 80)
    rig.work(rig.put("a.jpg", content))
    outputs = [*(rig.library / "thumbnails").rglob("*.jpg"), rig.library / "manifests/uncategorized/a.json"]
    before = [(path.stat().st_ino, path.stat().st_mtime_ns) for path in outputs]
    assert rig.work(rig.put("a.jpg", content))["outcome"] == "duplicate"
    assert [(path.stat().st_ino, path.stat().st_mtime_ns) for path in outputs] == before
    assert rig.files("originals") == ["uncategorized/a.jpg"]
    assert not (rig.inbox / "a.jpg").exists()


def test_other_bytes_under_the_same_name_live_beside_the_first(rig: Rig) -> None:
    rig.work(rig.put("a.jpg", jpeg(120, 80)))
    outcome = rig.work(rig.put("a.jpg", jpeg(80, 120)))
    assert outcome["outcome"] == "done"
    assert outcome["slot"].startswith("uncategorized/a~")
    assert len(rig.files("originals")) == 2


def test_a_missing_thumbnail_is_made_again_when_the_image_comes_back(rig: Rig) -> None:
    content = jpeg(120, 80)
    rig.work(rig.put("a.jpg", content))
    (rig.library / "thumbnails/uncategorized/32x32/a_32x32.jpg").unlink()
    assert rig.work(rig.put("a.jpg", content))["outcome"] == "done"
    assert len(rig.files("thumbnails")) == 2


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"hello\n", "not_an_image"), (b"", "empty"), (png_bomb(), "too_many_pixels")],
    ids=["text", "empty", "bomb"],
)
def test_what_cannot_become_thumbnails_goes_to_quarantine_with_its_reason(
    rig: Rig, content: bytes, reason: str
) -> None:
    outcome = rig.work(rig.put("trip/a.jpg", content))
    assert (outcome["outcome"], outcome["reason"]) == ("quarantined", reason)
    assert (rig.library / "quarantine/inbox/trip/a.jpg").read_bytes() == content
    found = json.loads((rig.library / "quarantine/inbox/trip/a.jpg.reason.json").read_text())
    assert (found["reason"], found["attempts"]) == (reason, 1)
    assert not (rig.inbox / "trip/a.jpg").exists()
    assert rig.files("thumbnails") == []


def test_a_truncated_image_stays_until_its_grace_has_passed(make_rig: Any) -> None:
    rig = make_rig(truncated_grace="1h")
    arrival = rig.put("a.jpg", truncated(jpeg(120, 80)))
    for tries in range(3):
        outcome = rig.work(arrival)
        assert (outcome["outcome"], outcome["reason"]) == ("put_off", "truncated")
        assert rig.leases.record(arrival).tries == tries + 1
    assert (rig.inbox / "a.jpg").exists()
    rig.leases.redis.hset(f"thumbdrop:record:{arrival.id}", "first_at", rig.leases.now_ms() - 3_700_000)
    assert rig.work(arrival)["outcome"] == "quarantined"
    assert rig.files("quarantine") == ["inbox/a.jpg", "inbox/a.jpg.reason.json"]


def test_a_file_that_changed_since_it_was_announced_is_superseded_and_taken_the_third_time(rig: Rig) -> None:
    arrival = rig.put("a.jpg", jpeg(120, 80))
    os.utime(rig.inbox / "a.jpg", ns=(0, arrival.mtime_ns + 123_456_789))
    assert [rig.work(arrival)["outcome"] for _ in range(3)] == ["put_off", "put_off", "done"]


def test_a_file_that_is_gone_is_not_done_but_looked_for_again(rig: Rig) -> None:
    arrival = rig.put("a.jpg", jpeg(120, 80))
    (rig.inbox / "a.jpg").unlink()
    outcome = rig.work(arrival)
    assert (outcome["outcome"], outcome["reason"], outcome["wait_seconds"]) == ("put_off", "gone", 30.0)


@pytest.mark.parametrize(("failed", "reason"), [("crashed", "crashed_worker"), ("timed_out", "timed_out")])
def test_a_file_that_ended_too_many_attempts_is_quarantined_without_being_decoded(
    rig: Rig, failed: str, reason: str
) -> None:
    arrival = rig.put("a.jpg", jpeg(120, 80))
    for _ in range(3):
        rig.leases.redis.delete("thumbdrop:due:inbox")
        (verdict,) = rig.leases.offer([arrival])
        rig.leases.begin(arrival, verdict.token)
        rig.leases.put_off(arrival, verdict.token, IngestError(Reason(reason), "x"), 0, failed=failed)
    outcome = rig.work(arrival)
    assert (outcome["outcome"], outcome["reason"]) == ("quarantined", reason)
    assert rig.files("thumbnails") == []
    assert rig.leases.record(arrival).attempts == 0, "whatever takes a file out of the inbox deletes its counters"


def test_workers_that_vanished_nine_times_do_not_cost_a_good_file(rig: Rig) -> None:
    arrival = rig.put("a.jpg", jpeg(120, 80))
    rig.leases.redis.hset(f"thumbdrop:record:{arrival.id}", "vanished", 9)
    assert rig.work(arrival)["outcome"] == "done"


def test_a_library_below_min_free_pauses_and_counts_nothing(make_rig: Any) -> None:
    rig = make_rig(min_free="900TB")
    arrival = rig.put("a.jpg", jpeg(120, 80))
    outcome = rig.work(arrival)
    assert (outcome["outcome"], outcome["reason"]) == ("put_off", "no_space")
    assert rig.leases.record(arrival).attempts == 0
    assert (rig.leases.paused() or {})["reason"] == "no_space"
    assert (rig.inbox / "a.jpg").exists()


def test_a_message_of_a_newer_version_is_left_to_a_newer_worker(rig: Rig) -> None:
    arrival = rig.put("a.jpg", jpeg(120, 80))
    message = to_message(arrival, "token") | {"version": 2}
    assert rig.ingest.ingest(message) == {"outcome": "unknown_version"}
    assert (rig.inbox / "a.jpg").exists()


def test_nobody_decodes_while_the_lease_store_is_away(rig: Rig, redis_server: RedisServer) -> None:
    arrival = rig.put("a.jpg", jpeg(120, 80))
    redis_server.kill()
    try:
        assert rig.ingest.ingest(to_message(arrival, "token")) == {"outcome": "leases_unreachable"}
    finally:
        redis_server.start()
    assert rig.files("") == []


def test_a_kept_file_stays_and_after_a_wipe_of_redis_is_recognised_without_decoding(
    make_rig: Any, redis_server: RedisServer
) -> None:
    rig = make_rig(after="keep")
    arrival = rig.put("a.jpg", jpeg(120, 80))
    assert rig.work(arrival)["outcome"] == "done"
    assert (rig.inbox / "a.jpg").exists()
    assert rig.files("originals") == []
    assert rig.leases.offer([arrival])[0].state == "kept"
    redis_server.flush()
    assert rig.work(arrival)["outcome"] == "duplicate"
    assert rig.leases.is_kept(arrival)


def test_a_kept_bad_file_is_reported_once_and_left_alone(make_rig: Any, redis_server: RedisServer) -> None:
    rig = make_rig(after="keep")
    arrival = rig.put("a.jpg", b"hello")
    assert rig.work(arrival)["outcome"] == "quarantined"
    assert (rig.inbox / "a.jpg").exists()
    assert rig.files("quarantine") == ["inbox/a.jpg.reason.json"]
    redis_server.flush()
    assert rig.work(arrival) | {"duration_ms": 0} == {
        "outcome": "quarantined",
        "reason": "not_an_image",
        "duration_ms": 0,
    }


def test_a_deleted_original_leaves_only_thumbnails_and_manifest(make_rig: Any) -> None:
    rig = make_rig(after="delete")
    rig.work(rig.put("a.jpg", jpeg(120, 80)))
    assert not (rig.inbox / "a.jpg").exists()
    assert rig.files("originals") == []
    assert json.loads((rig.library / "manifests/uncategorized/a.json").read_text())["original"] is None


def test_names_that_are_hostile_are_ingested_like_any_other(rig: Rig) -> None:
    for name in ("line\nbreak.jpg", os.fsdecode(b"caf\xe9.jpg"), "esc\x1b[31m.jpg", "n" * 251 + ".jpg"):
        outcome = rig.work(rig.put(name, jpeg(120, 80, seed=len(name))))
        assert outcome["outcome"] == "done", name
        assert not (rig.inbox / name).exists()
