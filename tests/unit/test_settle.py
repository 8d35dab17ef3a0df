from dataclasses import replace

import pytest

from watcher.settle import AskWriter, Complete, Event, Rules, Trace, WaitSeconds, judge, later_event, trace
from watcher.sighting import Sighting, Writer

LOCAL = Rules(settle_seconds=2, empty_grace_seconds=600)
NETWORK = Rules(settle_seconds=30, empty_grace_seconds=600, network=True)
NOW_NS = 1_700_000_000 * 10**9


def sighting(*, age_seconds: float, size_bytes: int = 100) -> Sighting:
    changed = NOW_NS - int(age_seconds * 1e9)
    return Sighting("a.jpg", size_bytes, mtime_ns=changed, ctime_ns=changed, inode=7, uid=1000)


def verdict(
    seen: Sighting, rules: Rules = LOCAL, event: Event | None = None, writer: Writer | None = "none"
) -> Complete | AskWriter | WaitSeconds:
    return judge(seen, trace(None, seen, event, 0), rules, now_ns=NOW_NS, monotonic=0, writer=writer)


def test_a_local_file_that_rested_is_complete_at_the_first_look() -> None:
    assert verdict(sighting(age_seconds=2)) == Complete()


def test_a_local_file_changed_just_now_waits_out_the_rest_of_its_settling() -> None:
    assert verdict(sighting(age_seconds=0.5)) == WaitSeconds(1.5, "settling")
    assert verdict(sighting(age_seconds=0.5), event="closed") == WaitSeconds(1.5, "settling")


def test_a_preserved_or_future_mtime_changes_nothing() -> None:
    for mtime_ns in (0, NOW_NS + 10**18):
        assert verdict(replace(sighting(age_seconds=3), mtime_ns=mtime_ns)) == Complete()
        assert verdict(replace(sighting(age_seconds=1), mtime_ns=mtime_ns)) == WaitSeconds(1, "settling")


def test_the_writer_is_asked_only_when_all_else_says_complete() -> None:
    assert verdict(sighting(age_seconds=1), writer=None) == WaitSeconds(1, "settling")
    assert verdict(sighting(age_seconds=2), writer=None) == AskWriter()


@pytest.mark.parametrize("event", [None, "touched", "closed", "renamed", "moved_in"])
def test_a_file_open_for_writing_is_never_complete_however_old(event: Event | None) -> None:
    assert verdict(sighting(age_seconds=10**6), event=event, writer="open") == WaitSeconds(5, "writer")


@pytest.mark.parametrize("event", [None, "touched", "attributes"])
def test_where_the_writer_is_unknown_and_no_close_was_seen_fifteen_quiet_seconds_are_asked_for(
    event: Event | None,
) -> None:
    assert verdict(sighting(age_seconds=5), event=event, writer="unknown") == WaitSeconds(10, "unknown_writer")
    assert verdict(sighting(age_seconds=15), event=event, writer="unknown") == Complete()


@pytest.mark.parametrize("event", ["closed", "renamed"])
def test_a_close_or_an_sftp_rename_spares_the_fifteen_seconds_but_not_the_settling(event: Event) -> None:
    assert verdict(sighting(age_seconds=1), event=event, writer="unknown") == WaitSeconds(1, "settling")
    assert verdict(sighting(age_seconds=2), event=event, writer="unknown") == Complete()


@pytest.mark.parametrize("writer", ["none", "unknown"])
def test_a_file_renamed_into_place_is_complete_at_once(writer: Writer) -> None:
    assert verdict(sighting(age_seconds=0), event="moved_in", writer=writer) == Complete()


def test_a_ctime_in_the_future_waits_on_the_monotonic_clock_from_the_first_sight() -> None:
    seen = sighting(age_seconds=-3600)
    first = trace(None, seen, None, 100)
    assert judge(seen, first, LOCAL, now_ns=NOW_NS, monotonic=100) == WaitSeconds(2, "clock")
    again = trace(first, seen, None, 101.5)
    assert judge(seen, again, LOCAL, now_ns=NOW_NS, monotonic=101.5) == WaitSeconds(0.5, "clock")
    assert judge(seen, again, LOCAL, now_ns=NOW_NS, monotonic=102, writer="none") == Complete()


def test_a_network_file_needs_two_equal_looks_however_old_it_looks() -> None:
    seen = sighting(age_seconds=10**6)
    first = trace(None, seen, "moved_in", 100)
    assert judge(seen, first, NETWORK, now_ns=NOW_NS, monotonic=100) == WaitSeconds(30, "second_look")
    second = trace(first, seen, None, 130)
    assert judge(seen, second, NETWORK, now_ns=NOW_NS, monotonic=130) == Complete()


def test_any_change_of_a_network_file_starts_its_wait_again() -> None:
    seen = sighting(age_seconds=100)
    first = trace(None, seen, None, 100)
    for change in (
        replace(seen, size_bytes=101),
        replace(seen, inode=8),
        replace(seen, mtime_ns=1),
        replace(seen, ctime_ns=1),
    ):
        second = trace(first, change, None, 125)
        assert judge(change, second, NETWORK, now_ns=NOW_NS, monotonic=131) == WaitSeconds(24, "second_look")


def test_a_lease_says_nothing_on_a_network_file_system() -> None:
    seen = sighting(age_seconds=100)
    known = trace(trace(None, seen, None, 0), seen, None, 30)
    assert judge(seen, known, NETWORK, now_ns=NOW_NS, monotonic=30, writer="open") == Complete()


def test_an_empty_file_waits_its_grace_then_goes_to_the_worker() -> None:
    assert verdict(sighting(age_seconds=100, size_bytes=0)) == WaitSeconds(500, "empty")
    assert verdict(sighting(age_seconds=0, size_bytes=0), event="moved_in") == WaitSeconds(600, "empty")
    assert verdict(sighting(age_seconds=600, size_bytes=0)) == Complete()
    assert verdict(sighting(age_seconds=600, size_bytes=0), writer="open") == WaitSeconds(5, "writer")


def test_an_empty_network_file_waits_its_grace_from_the_first_sight() -> None:
    seen = sighting(age_seconds=10**6, size_bytes=0)
    first = trace(None, seen, None, 0)
    assert judge(seen, first, NETWORK, now_ns=NOW_NS, monotonic=40) == WaitSeconds(560, "empty")
    assert judge(seen, first, NETWORK, now_ns=NOW_NS, monotonic=600) == Complete()


def test_the_word_of_a_close_ends_when_the_content_changes_after_it() -> None:
    closed = trace(None, sighting(age_seconds=20), "closed", 0)
    grown = sighting(age_seconds=5, size_bytes=200)
    known = trace(closed, grown, None, 15)
    assert known.event == "touched"
    assert judge(grown, known, LOCAL, now_ns=NOW_NS, monotonic=15, writer="unknown") == WaitSeconds(
        10, "unknown_writer"
    )


def test_a_chmod_after_the_close_leaves_its_word_standing() -> None:
    closed = trace(None, sighting(age_seconds=20), "closed", 0)
    chmodded = replace(sighting(age_seconds=20), ctime_ns=NOW_NS - 10**9)
    assert trace(closed, chmodded, "attributes", 19) == Trace((7, 100, chmodded.mtime_ns, NOW_NS - 10**9), 19, "closed")


def test_a_later_event_takes_the_place_of_an_earlier_one() -> None:
    moved = trace(None, sighting(age_seconds=20), "moved_in", 0)
    assert trace(moved, sighting(age_seconds=20), "closed", 1).event == "closed"
    assert trace(moved, sighting(age_seconds=20), None, 1) == moved


def test_a_change_of_attributes_never_hides_what_was_said_about_writing() -> None:
    assert later_event("closed", "attributes") == "closed"
    assert later_event("closed", None) == "closed"
    assert later_event(None, "attributes") == "attributes"
    assert later_event("closed", "touched") == "touched"
