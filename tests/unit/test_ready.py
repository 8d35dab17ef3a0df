"""In which order complete arrivals go out, and that none goes out twice."""

from tasks.messages import Arrival
from watcher.ready import TURN_EVERY, Complete, Lane, Ready


def arrival(path: str, mtime_ns: int = 1) -> Arrival:
    return Arrival("inbox", path, 10, mtime_ns)


def add(ready: Ready, path: str, lane: Lane, mtime_ns: int = 1) -> None:
    ready.add(Complete(arrival(path, mtime_ns), 5, by_scan=False), lane)


def take_all(ready: Ready) -> list[str]:
    taken = []
    while (one := ready.take()) is not None:
        taken.append(one.path)
    return taken


def test_fresh_ones_go_before_the_backlog_and_each_lane_in_its_order() -> None:
    ready = Ready()
    for path in ("b1", "b2"):
        add(ready, path, "backlog")
    for path in ("f1", "f2"):
        add(ready, path, "fresh")
    assert take_all(ready) == ["f1", "f2", "b1", "b2"]


def assert_gets_every_eighth_slot(lane: Lane) -> None:
    """Beside as many fresh ones, and then all the slots that are left."""
    ready = Ready()
    for number in range(40):
        add(ready, f"other{number}", lane)
        add(ready, f"fresh{number}", "fresh")
    order = take_all(ready)
    assert sum(path.startswith("other") for path in order[:40]) == 40 // TURN_EVERY
    assert len(order) == 80


def test_what_was_put_off_gets_every_eighth_slot_and_all_that_are_left() -> None:
    assert_gets_every_eighth_slot("retry")


def test_an_endless_stream_of_fresh_ones_does_not_hold_the_backlog_up_for_ever() -> None:
    assert_gets_every_eighth_slot("backlog")


def test_a_path_is_ready_once_however_often_it_is_seen() -> None:
    ready = Ready()
    add(ready, "a", "backlog", mtime_ns=1)
    add(ready, "a", "fresh", mtime_ns=2)
    add(ready, "a", "backlog", mtime_ns=3)
    assert len(ready) == ready.fresh == 1
    assert ready.take() == arrival("a", 3)
    assert ready.take() is None


def test_an_arrival_that_is_out_does_not_become_ready_again_until_it_came_back() -> None:
    ready = Ready()
    add(ready, "a", "fresh")
    assert take_all(ready) == ["a"]
    add(ready, "a", "backlog")
    assert take_all(ready) == []
    ready.came_back(arrival("a"))
    add(ready, "a", "backlog")
    assert take_all(ready) == ["a"]


def test_what_was_emptied_or_dropped_is_not_taken() -> None:
    ready = Ready()
    for path in ("a", "b", "c"):
        add(ready, path, "backlog")
    ready.drop("a")
    assert sorted(ready.empty()) == ["b", "c"]
    assert ready.take() is None
