"""What `thumbdrop why` tells, from facts alone."""

import json
from dataclasses import replace
from typing import Any

import pytest

from watcher.story import Story, tell
from watcher.story_facts import Done, Facts, Kind, Quarantined

NOW = 1_700_000_000.0
DONE = Done(
    inbox="inbox",
    source="a/b.jpg",
    slot="a/b",
    ingested_at="2024-05-06T07:08:09Z",
    thumbnails=("/library/thumbnails/a/640x640/b_640x640.jpg",),
    original="/library/originals/a/b.jpg",
    manifest="/library/manifests/a/b.json",
    is_this_very_file=False,
)
SET_ASIDE = Quarantined(
    reason="corrupt",
    message="cannot be decoded",
    hint="upload it again",
    attempts=1,
    at="2024-05-07T00:00:00Z",
    file="/library/quarantine/inbox/a/b.jpg",
    reason_file="/library/quarantine/inbox/a/b.jpg.reason.json",
    is_this_very_file=False,
)


def story(kind: Kind = "file", **facts: object) -> Story:
    return tell(Facts("a/b.jpg", NOW, **{"inbox": "inbox", "kind": kind, **facts}))  # type: ignore[arg-type] # by name


def test_a_complete_file_that_nobody_has_taken_yet_is_due() -> None:
    assert story().state == "due"


def test_without_a_watcher_it_says_how_to_start_one() -> None:
    told = story(has_watcher=False)
    assert told.state == "unwatched"
    assert "thumbdrop watch" in told.lines[0]
    assert not told.is_fine


@pytest.mark.parametrize("why", ["hidden", "temporary", "ignored", "suffix", "too_deep"])
def test_a_file_that_is_left_alone_says_which_rule_does_so(why: str) -> None:
    told = story(ignored_why=why, lease="", paused={"message": "full"})
    assert told.state == "ignored"
    assert told.details["ignored_why"] == why
    assert told.lines[0] != f"left alone: {why}", "in words"


@pytest.mark.parametrize("kind", ["link", "directory", "special"])
def test_what_is_no_regular_file_is_left_alone_whatever_its_name(kind: Kind) -> None:
    assert story(kind, ignored_why="hidden").state == "not_a_file"


def test_a_file_at_work_is_in_flight_whatever_else_is_known() -> None:
    told = story(lease="working", lease_age_seconds=3.0, not_before=NOW + 9, is_kept=True, offline_why="gone")
    assert (told.state, told.lines[0]) == ("in_flight", "a worker has been at it for 3 s")
    assert story(lease="published", lease_age_seconds=90.0).lines[0].startswith("published 2 min ago")


def test_a_file_that_was_put_off_says_why_when_and_how_often() -> None:
    told = story(
        reason="permission", message="may not read it", tries=3, attempts=2, first_at=NOW - 3600, not_before=NOW + 90
    )
    assert told.state == "retrying"
    assert told.lines == (
        "tried again in 2 min: may not read it [permission]",
        "put off 3 times, first 1 h ago",
        "2 attempts came to no end",
    )
    assert told.details["not_before"] == NOW + 90


def test_a_cut_off_file_says_how_long_its_client_may_still_go_on() -> None:
    cut: dict[str, Any] = {
        "reason": "truncated",
        "message": "this jpeg looks cut off",
        "tries": 2,
        "first_at": NOW - 60,
    }
    told = story(**cut, not_before=NOW + 90, gives_up_at=NOW + 7200)
    assert told.state == "retrying"
    assert told.lines[-1] == "its client may go on with it for 2 h more (truncated_grace); then it is quarantined"
    assert told.details["gives_up_at"] == NOW + 7200
    due = story(**cut, not_before=NOW - 1, gives_up_at=NOW + 7200)
    assert due.state == "due"
    assert due.lines[0].startswith("its wait has ended")
    assert (due.details["reason"], due.details["tries"]) == ("truncated", 2)


def test_a_wait_that_has_ended_is_no_longer_told_as_one() -> None:
    assert story(reason="io_error", not_before=NOW - 1).state == "due"


def test_a_file_that_settles_says_how_long_still() -> None:
    told = story(settle_why="settling", settle_seconds=1.4)
    assert told.state == "settling"
    assert "1 s more" in told.lines[0]


def test_a_paused_library_is_told_with_what_to_do() -> None:
    told = story(paused={"reason": "no_space", "message": "no room", "hint": "free some"})
    assert (told.state, told.lines) == ("paused", ("all work is paused: no room [no_space]", "to do: free some"))


def test_an_offline_inbox_explains_why_nothing_happens() -> None:
    assert story(offline_why="/mnt is missing").state == "offline"
    assert story("missing", offline_why="/mnt is missing").state == "offline"


def test_a_file_that_left_the_inbox_is_done_with_all_its_places() -> None:
    told = story("missing", done=(DONE,))
    assert told.state == "done"
    assert told.lines == (
        "done at 2024-05-06T07:08:09Z, from a/b.jpg of the inbox inbox",
        "thumbnail /library/thumbnails/a/640x640/b_640x640.jpg",
        "original /library/originals/a/b.jpg",
        "manifest /library/manifests/a/b.json",
    )
    assert told.is_fine


def test_a_quarantined_file_says_why_where_and_what_to_do() -> None:
    told = story("missing", quarantined=(SET_ASIDE,))
    assert told.state == "quarantined"
    assert told.lines[:3] == (
        "quarantined at 2024-05-07T00:00:00Z: cannot be decoded [corrupt]",
        "to do: upload it again",
        "it stands at /library/quarantine/inbox/a/b.jpg",
    )
    assert not told.is_fine


def test_of_two_files_that_left_under_one_name_the_newer_one_is_told_first() -> None:
    told = story("missing", done=(DONE,), quarantined=(SET_ASIDE,))
    assert told.state == "quarantined"
    assert told.lines[-1].startswith("another file of that name was done at 2024-05-06")


def test_a_file_that_stands_there_now_comes_before_what_became_of_an_earlier_one() -> None:
    told = story(done=(DONE,), quarantined=(SET_ASIDE,))
    assert told.state == "due"
    assert len(told.lines) == 3


def test_a_kept_file_is_done_though_it_stands_there() -> None:
    very = Done(
        **{**{name: getattr(DONE, name) for name in DONE.__slots__}, "is_this_very_file": True, "original": None}
    )
    told = story(is_kept=True, done=(very,))
    assert told.state == "done"
    assert "no original in the library: it was kept or deleted" in told.lines
    assert story(is_kept=True).state == "done"


def test_a_kept_file_that_cannot_be_done_is_quarantined_though_it_stands_there() -> None:
    fields = {name: getattr(SET_ASIDE, name) for name in SET_ASIDE.__slots__}
    told = story(is_kept=True, quarantined=(Quarantined(**{**fields, "is_this_very_file": True, "file": None}),))
    assert told.state == "quarantined"
    assert "it stays in the inbox" in told.lines


def test_a_file_that_never_came_says_what_to_look_at() -> None:
    told = story("missing")
    assert told.state == "unknown"
    assert not told.is_fine


def test_a_path_that_leads_nowhere_of_ours_is_outside() -> None:
    assert story("missing", inbox="").state == "outside"


def test_a_store_that_is_away_is_told_where_it_matters() -> None:
    assert "does not answer (refused)" in story(store_error="refused").lines[-1]
    assert len(story(store_error="refused", ignored_why="hidden").lines) == 1


def test_a_disk_that_hangs_is_no_proof_that_the_file_is_gone() -> None:
    assert story("missing", inbox="", disk_error="no answer within 3 s").state == "offline"


def test_rights_in_the_way_are_told_as_such() -> None:
    assert story("missing", blocked_why="Permission denied").state == "blocked"


def test_every_story_is_json() -> None:
    for told in (story(), story("missing", done=(DONE,), arrival_id="x"), story("missing", quarantined=(SET_ASIDE,))):
        assert json.loads(json.dumps(told.as_json()))["state"] == told.state


@pytest.mark.parametrize(
    "ended", [{"done": (replace(DONE, arrival_id="1d"),)}, {"quarantined": (replace(SET_ASIDE, arrival_id="1d"),)}]
)
def test_a_file_that_left_the_inbox_is_still_found_in_the_result_store_by_its_arrival_id(ended: dict[str, Any]) -> None:
    told = story("missing", **ended)
    assert told.details["arrival_id"] == "1d"
    assert "arrival id 1d" in told.lines
    assert "arrival id" not in "".join(story("missing", done=(DONE,)).lines)
