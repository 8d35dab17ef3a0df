"""The guard around billiard's counters: a child that dies with the lock must not take the worker with it."""

import inspect
import os
import signal
from typing import Any

import billiard
import pytest
from billiard.pool import Pool

from tasks.pool_guard import GUARDED_LINE, guard_pool_counters


@pytest.mark.timeout(20)
def test_a_child_that_was_killed_while_it_looked_at_its_counter_does_not_stop_the_main_process() -> None:
    guard_pool_counters()
    context: Any = billiard.get_context()
    counter = context.Value("i")
    told, tell = os.pipe()
    child = os.fork()
    if child == 0:
        with counter.get_lock():
            os.write(tell, b"it has the lock")
            signal.pause()
    os.read(told, 100)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with counter.get_lock():
        counter.value += 1
    assert counter.value == 1
    os.close(told)
    os.close(tell)


def test_children_see_what_the_main_process_counts() -> None:
    guard_pool_counters()
    context: Any = billiard.get_context()
    counter = context.Value("i")
    counter.value += 5
    child = os.fork()
    if child == 0:
        os._exit(counter.value)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 5


def test_the_guard_is_for_the_place_where_billiard_makes_its_counters() -> None:
    pool: Any = Pool
    assert GUARDED_LINE in inspect.getsource(pool._create_worker_process), (
        "does the guard in tasks/pool_guard.py still fit, or is it needed no more?"
    )
