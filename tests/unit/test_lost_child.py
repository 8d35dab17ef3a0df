"""Whose fault it is that a worker's child ended: the texts are billiard's and Celery's own."""

import pytest
from billiard.common import human_status
from billiard.exceptions import TimeLimitExceeded, WorkerLostError

from tasks.lost_child import failed_counter, why_lost


@pytest.mark.parametrize(
    ("status", "reason", "counter", "told"),
    [
        (-11, "crashed_worker", "crashed", "SIGSEGV"),
        (-7, "crashed_worker", "crashed", "SIGBUS"),
        (-6, "crashed_worker", "crashed", "SIGABRT"),
        (-8, "crashed_worker", "crashed", "SIGFPE"),
        (-4, "crashed_worker", "crashed", "SIGILL"),
        (-24, "timed_out", "timed_out", "limits.cpu_time"),  # SIGXCPU
        (-14, "timed_out", "timed_out", "limits.task_time"),  # SIGALRM
        (3, "crashed_worker", "crashed", "exit code 3"),
        (-9, "lost_worker", "vanished", "SIGKILL"),
        (-15, "lost_worker", "vanished", "SIGTERM"),
        (-2, "lost_worker", "vanished", "SIGINT"),
        (0, "lost_worker", "vanished", "nobody knows"),
        (-77, "crashed_worker", "crashed", "signal 77"),
    ],
)
def test_a_child_ended_by_itself_counts_against_the_file_and_one_that_was_killed_does_not(
    status: int, reason: str, counter: str, told: str
) -> None:
    why = why_lost(WorkerLostError(f"Worker exited prematurely: {human_status(status)} Job: 12."))
    assert (why.reason, failed_counter(why)) == (reason, counter)
    assert told in why.message


def test_a_child_that_was_ended_at_its_time_limit_counts_as_timed_out() -> None:
    why = why_lost(TimeLimitExceeded(60))
    assert (why.reason, failed_counter(why)) == ("timed_out", "timed_out")
