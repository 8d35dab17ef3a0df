"""When a file that only a scan found tells that events are missing."""

from watcher.hearing import GRACE_SECONDS, MAX_SUSPECTS, REMEMBERED, Hearing

ARMED_NS = 1_000
LATER = GRACE_SECONDS + 1


def listening() -> Hearing:
    hearing = Hearing()
    hearing.listen(ARMED_NS)
    return hearing


def test_a_change_after_arming_that_no_event_told_of_is_missed() -> None:
    hearing = listening()
    hearing.found("a", ARMED_NS + 1, 0.0)
    assert hearing.judge(GRACE_SECONDS / 2, 2_000) == []
    assert hearing.judge(LATER, 2_000) == ["a"]
    assert hearing.judge(LATER, 2_000) == []
    assert hearing.missed == 1


def test_an_event_may_come_before_the_scan_or_shortly_after_it() -> None:
    hearing = listening()
    hearing.announced("before")
    for path in ("before", "after"):
        hearing.found(path, ARMED_NS + 1, 0.0)
    hearing.announced("after")
    assert hearing.judge(LATER, 2_000) == []


def test_what_changed_before_the_watches_were_armed_or_without_any_is_not_missed() -> None:
    hearing = listening()
    hearing.found("backlog", ARMED_NS, 0.0)
    assert hearing.judge(LATER, 2_000) == []
    hearing.listen(None)
    hearing.found("polled", ARMED_NS + 1, 0.0)
    assert hearing.judge(LATER, 2_000) == []


def test_what_was_lost_knowingly_is_not_missed_but_what_comes_after_it_is() -> None:
    hearing = listening()
    hearing.found("suspect", ARMED_NS + 1, 0.0)
    hearing.lost()
    assert hearing.judge(LATER, 5_000) == []
    hearing.found("overflowed", 4_999, LATER)
    hearing.found("unheard", 5_001, LATER)
    assert hearing.judge(2 * LATER, 6_000) == ["unheard"]


def test_a_burst_larger_than_the_memory_for_events_accuses_nobody_and_costs_no_more() -> None:
    hearing = listening()
    for number in range(REMEMBERED + 100):
        hearing.announced(f"{number}")
    for number in range(REMEMBERED + 100):
        hearing.found(f"{number}", ARMED_NS + 1, 0.0)
    assert hearing.judge(LATER, 5_000) == []
    for number in range(2 * MAX_SUSPECTS):
        hearing.found(f"late{number}", 6_000, LATER)
    assert len(hearing.judge(2 * LATER, 7_000)) == MAX_SUSPECTS
