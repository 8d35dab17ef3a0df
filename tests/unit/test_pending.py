"""The table of paths to look at: the earliest first, each once, and never more than it may hold."""

from watcher.pending import Pending
from watcher.settle import Trace

TRACE = Trace((1, 2, 3, 4), 0.0, None)


def test_paths_come_out_in_the_order_of_their_times_and_not_before() -> None:
    pending = Pending()
    pending.wait("late", 3.0, "settling")
    pending.wait("soon", 1.0, "settling")
    assert pending.due(0.9, 10) == []
    assert pending.next_at() == 1.0
    assert pending.due(3.0, 10) == ["soon", "late"]


def test_a_path_that_was_handed_out_is_not_handed_out_again_until_it_is_scheduled() -> None:
    pending = Pending()
    pending.hint("a", "closed", 1.0)
    assert pending.due(1.0, 10) == ["a"]
    assert pending.due(9.0, 10) == []
    assert pending.next_at() is None
    pending.wait("a", 5.0, "settling")
    assert pending.due(9.0, 10) == ["a"]


def test_a_new_event_brings_a_waiting_path_forward() -> None:
    pending = Pending()
    pending.wait("a", 100.0, "empty", TRACE)
    pending.hint("a", "closed", 2.0)
    assert pending.due(2.0, 10) == ["a"]
    wait = pending.get("a")
    assert wait is not None
    assert (wait.event, wait.trace, wait.source) == ("closed", TRACE, "event")


def test_a_change_of_attributes_does_not_hide_that_the_file_was_closed() -> None:
    pending = Pending()
    pending.hint("a", "closed", 1.0)
    pending.hint("a", "attributes", 1.1)
    wait = pending.get("a")
    assert wait is not None
    assert wait.event == "closed"


def test_what_an_event_said_is_used_up_by_the_next_wait() -> None:
    pending = Pending()
    pending.hint("a", "closed", 1.0)
    pending.wait("a", 2.0, "settling", TRACE)
    wait = pending.get("a")
    assert wait is not None
    assert wait.event is None
    assert wait.source == "event", "an event brought it, however often it is looked at"


def test_a_full_table_refuses_new_paths_and_keeps_the_old_ones() -> None:
    pending = Pending(limit=2)
    assert pending.hint("a", None, 1.0)
    assert pending.wait("b", 1.0, "settling")
    assert not pending.hint("c", "closed", 1.0)
    assert not pending.wait("c", 1.0, "settling")
    assert pending.hint("a", "closed", 2.0)
    assert pending.is_full
    pending.drop("a")
    assert pending.hint("c", None, 1.0)


def test_a_file_that_is_written_for_hours_costs_no_memory() -> None:
    pending = Pending(limit=10)
    pending.wait("other", 0.5, "settling")
    for second in range(10_000):
        pending.hint("a", "touched", float(second))
    assert len(pending._heap) <= 41
    assert pending.due(20_000.0, 10) == ["other", "a"]


def test_what_was_put_back_is_due_again() -> None:
    pending = Pending()
    pending.hint("a", None, 1.0)
    pending.due(1.0, 1)
    pending.put_back("a")
    assert pending.due(1.0, 1) == ["a"]


def test_counts_say_what_the_paths_wait_for() -> None:
    pending = Pending()
    pending.hint("a", None, 1.0)
    pending.wait("b", 2.0, "empty")
    pending.wait("c", 2.0, "empty")
    assert pending.counts() == {"look": 1, "empty": 2}
    pending.clear()
    assert (pending.counts(), pending.next_at()) == ({}, None)


def test_files_that_may_wait_for_hours_get_no_more_than_half_of_the_table() -> None:
    pending = Pending(limit=10, patient=frozenset({"empty"}))
    assert [pending.wait(f"empty{number}", 600.0, "empty") for number in range(6)] == [True] * 5 + [False]
    assert pending.wait("empty0", 900.0, "empty"), "one that is in the table may stay"
    assert pending.hint("empty9", "closed", 1.0)
    assert not pending.wait("empty9", 600.0, "empty"), "an event makes no exception"
    assert all(pending.wait(f"good{number}", 2.0, "settling") for number in range(5))
    assert pending.counts() == {"empty": 5, "settling": 5}
    pending.drop("empty0")
    assert pending.wait("empty9", 600.0, "empty")
