"""When a part that died is started again, and how its end is told."""

import signal

from watcher.children import describe_exit, next_wait


def test_a_part_that_dies_again_and_again_is_started_ever_later_up_to_half_a_minute() -> None:
    waits = [next_wait(0, 0.1)]
    while len(waits) < 8:
        waits.append(next_wait(waits[-1], 0.1))
    assert waits == [1, 2, 4, 8, 16, 30, 30, 30]


def test_a_minute_of_life_begins_anew() -> None:
    assert next_wait(30, 60) == 1
    assert next_wait(30, 59) == 30


def test_an_end_is_told_in_words() -> None:
    assert describe_exit(1) == "ended with exit code 1"
    assert describe_exit(-signal.SIGKILL) == "was killed by SIGKILL"
    assert describe_exit(-63) == "was killed by signal 63"
