"""Which walk is asked for next, and when the loop has to come back for it."""

from watcher.rescan import Rescan
from watcher.tree_messages import BeginWalk, Pull, Pulled
from watcher.walk import Progress
from watcher.walks import MAX_SUBTREES, PULL_FILES, PULL_SECONDS, SUBTREE, WHOLE, Walks


def answer(walk: str, *, finished: bool) -> Pulled:
    return Pulled(walk, (), Progress(finished, 0, 0, {"suffix": 1}, (), ()))


def whole_scan_done() -> Walks:
    walks = Walks(Rescan(30.0, 0.05))
    assert walks.next_request(0.0, 0.0, has_room=True) == BeginWalk(WHOLE)
    walks.pulled(answer(WHOLE, finished=True), 1.0, 0.0)
    return walks


def test_a_walk_is_pulled_only_while_there_is_room_and_wakes_nobody_otherwise() -> None:
    walks = Walks(Rescan(30.0, 0.05))
    assert walks.next_at(0.0, has_room=False) == 0.0
    walks.next_request(0.0, 0.0, has_room=False)
    assert walks.next_request(1.0, 0.0, has_room=False) is None
    assert walks.next_at(1.0, has_room=False) is None
    assert walks.next_at(1.0, has_room=True) == 1.0
    assert walks.next_request(1.0, 0.0, has_room=True) == Pull(WHOLE, PULL_FILES, PULL_SECONDS)


def test_a_new_directory_does_not_wait_for_the_scan_under_way() -> None:
    walks = Walks(Rescan(30.0, 0.05))
    walks.next_request(0.0, 0.0, has_room=True)
    assert walks.want_below("new")
    assert walks.next_request(1.0, 0.0, has_room=True) == BeginWalk(SUBTREE, "new")
    walks.pulled(answer(SUBTREE, finished=False), 1.0, 0.0)
    assert walks.next_request(1.0, 0.0, has_room=True) == Pull(SUBTREE, PULL_FILES, PULL_SECONDS)
    walks.pulled(answer(SUBTREE, finished=True), 1.0, 0.0)
    assert walks.next_request(1.0, 0.0, has_room=True) == Pull(WHOLE, PULL_FILES, PULL_SECONDS)
    assert not walks.are_done


def test_after_a_scan_the_loop_is_woken_for_the_next_one() -> None:
    walks = whole_scan_done()
    assert walks.are_done
    assert walks.next_at(2.0, has_room=True) == 31.0
    assert walks.ignored == {"suffix": 1}


def test_more_new_directories_than_are_kept_are_one_scan() -> None:
    walks = whole_scan_done()
    assert all(walks.want_below(f"{number}") for number in range(MAX_SUBTREES))
    assert not walks.want_below("one more")
    assert walks.next_request(2.0, 0.0, has_room=True) == BeginWalk(WHOLE)
