"""What a child does with several jobs at a time: the time each has, and the time they all have."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tasks import batch_pool
from tasks.batch_pool import run_together

armed: list[float] = []


def job(number: int) -> int:
    armed.append(signal.getitimer(signal.ITIMER_REAL)[0])
    return number


def test_each_job_has_its_own_time_and_none_is_left_armed() -> None:
    armed.clear()
    assert run_together([(job, (number,)) for number in range(3)], 50.0) == [0, 1, 2]
    assert all(49 < seconds <= 50 for seconds in armed)
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0


def test_nothing_is_left_armed_by_what_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def fails() -> Iterator[None]:
        yield
        raise ValueError("broken")

    monkeypatch.setattr(batch_pool, "_shared", fails)
    with pytest.raises(ValueError, match="broken"):
        run_together([(job, (1,))], 50.0)
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0


def test_jobs_that_prove_slow_are_left_for_others_but_one_is_always_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_pool, "LONGEST_SECONDS", 0.0)
    assert run_together([(job, (number,)) for number in range(3)], 50.0) == [0]
