"""Celery's prefork pool, with several images at a time for a child where many wait: they go together there (tasks/ingest.py).

A message stays a task of its own, with its own result and acknowledgement; only the hand-over is shared. What a reader
would get wrong: no image waits for a batch. One that finds a child free goes at once and alone; how many of those that
wait go together, and how many the worker holds, depends on how quickly the last ones were done.
"""

import signal
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from typing import Any

from celery import bootsteps
from celery.concurrency import prefork
from celery.worker.consumer.tasks import Tasks

from tasks.messages import TASK_INGEST

# More save little: what can be shared is shared by then.
MOST_TOGETHER = 8
# A child should not be gone for much longer than this: at the end of a backlog others would wait with nothing to do.
TOGETHER_SECONDS = 0.25
# After this it begins no other image of its batch, when they prove slower than the last ones were.
LONGEST_SECONDS = 0.5

Job = tuple[Callable[..., Any], Sequence[Any]]

_shared: Callable[[], AbstractContextManager[object]] = nullcontext


def share(context: Callable[[], AbstractContextManager[object]]) -> None:
    """Say what several tasks share in a child: they are done inside `context()`, and have ended when it ends."""
    global _shared  # noqa: PLW0603 - once, when the worker is wired
    _shared = context


def run_together(jobs: Sequence[Job], seconds: float) -> list[Any]:
    """In a child: do the jobs, as many as there is time for, at least one; return the results of those.

    One that takes longer than `seconds` ends this process by SIGALRM, as Celery's time limit would: that one counts for all.
    """
    results: list[Any] = []
    ends_at = time.monotonic() + LONGEST_SECONDS
    try:
        with _shared():
            for function, args in jobs:
                if results and time.monotonic() > ends_at:
                    break
                signal.setitimer(signal.ITIMER_REAL, seconds)
                results.append(function(*args))
            signal.setitimer(signal.ITIMER_REAL, seconds)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return results


@dataclass(eq=False, slots=True, weakref_slot=True)
class _Waiting:
    """A job as Celery gave it; stands for billiard's ApplyResult, of which Celery asks for `terminate` only."""

    function: Callable[..., Any]
    args: Sequence[Any]
    options: dict[str, Any]

    @property
    def is_image(self) -> bool:
        return bool(self.args) and self.args[0] == TASK_INGEST

    def terminate(self, signum: int) -> None:
        """Nothing: one that has begun is ended by its child's end, and of one that waits the request itself remembers it."""


class TaskPool(prefork.TaskPool):
    """The pool of a worker."""

    # It is given all messages at once instead of one for each child, or nothing would ever wait here.
    uses_semaphore = False

    _pool: Any  # billiard's, with the children
    flush: Callable[[], None]
    on_pace: Callable[[], object] = staticmethod(lambda: None)  # called when `batch` may have changed

    def on_start(self) -> None:
        """Start the children."""
        super().on_start()
        self._pending: deque[_Waiting] = deque()
        self._image_seconds = TOGETHER_SECONDS  # what an image took lately
        self.flush = self._forget

    @property
    def batch(self) -> int:
        """How many images may go together now."""
        return max(1, min(MOST_TOGETHER, int(TOGETHER_SECONDS / self._image_seconds)))

    def apply_async(self, target: Callable[..., Any], args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        """Take a job; begun as soon as a child is free."""
        if kwargs or options.get("soft_timeout"):
            return super().apply_async(target, args, kwargs, **options)
        job = _Waiting(target, args or (), options)
        self._pending.append(job)
        self._hand_over()
        return job

    def _forget(self) -> None:
        """The broker is lost, or the worker stops: what waits is not acknowledged, and comes again."""
        self._pending.clear()
        self._pool.flush()

    def _hand_over(self) -> None:
        while self._pending and len(self._pool._cache) < self.num_processes:  # noqa: SLF001 - what children have at hand
            self._give(self._next())

    def _next(self) -> list[_Waiting]:
        most = min(self.batch, -(-len(self._pending) // self.num_processes))
        jobs = [self._pending.popleft()]
        while self._pending and len(jobs) < most and jobs[0].is_image and self._pending[0].is_image:
            jobs.append(self._pending.popleft())
        return jobs

    def _give(self, jobs: list[_Waiting]) -> None:
        if len(jobs) == 1:
            work, args, options = jobs[0].function, jobs[0].args, dict(jobs[0].options)
        else:
            seconds = jobs[0].options.get("timeout") or self._pool.timeout or 0
            work, args = run_together, ([(job.function, job.args) for job in jobs], seconds)
            options = jobs[0].options | {"timeout": seconds * len(jobs) or None, "correlation_id": None}
        began_at = time.monotonic()

        def accepted(pid: int, at: float) -> None:
            nonlocal began_at
            began_at = at
            _tell(jobs, "accept_callback", [(pid, at)] * len(jobs))

        def done(value: Any, **_: Any) -> None:
            results = [value] if len(jobs) == 1 else value
            if jobs[0].is_image:
                self._image_seconds = (self._image_seconds + (time.monotonic() - began_at) / len(results)) / 2
            self._pending.extendleft(reversed(jobs[len(results) :]))
            self._hand_over()
            _tell(jobs[: len(results)], "callback", [(result,) for result in results])
            self.on_pace()

        def failed(info: Any, **_: Any) -> None:
            self._hand_over()
            _tell(jobs, "error_callback", [(info,)] * len(jobs))

        def timed_out(soft: bool, timeout: float) -> None:
            _tell(jobs, "timeout_callback", [(soft, timeout)] * len(jobs))

        callbacks = {"callback": done, "accept_callback": accepted, "error_callback": failed}
        super().apply_async(work, args, **options | callbacks | {"timeout_callback": timed_out})


class HoldStep(bootsteps.StartStopStep):
    """A step of Celery's consumer: holds for each child one batch at work, and one that waits for it.

    So what is held begins within the time that a batch or one task takes, or it would count as lost: watcher/flights.py.
    """

    requires = (Tasks,)

    def start(self, parent: Any) -> None:
        """Whenever the worker begins to take messages."""
        if isinstance(parent.pool, TaskPool):
            parent.pool.on_pace = lambda: _hold(parent)
            _hold(parent)


def _hold(consumer: Any) -> None:
    more = 2 * consumer.pool.batch * consumer.pool.num_processes - consumer.qos.value
    if more > 0:
        consumer.qos.increment_eventually(more)
    elif more < 0:
        consumer.qos.decrement_eventually(-more)


def _tell(jobs: Iterable[_Waiting], whom: str, what: Iterable[Sequence[Any]]) -> None:
    """Tell every request of a batch, also when one of them raises."""
    with ExitStack() as stack:
        for job, words in zip(jobs, what, strict=True):
            if callback := job.options.get(whom):
                stack.callback(callback, *words)
