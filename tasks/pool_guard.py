"""Keeps a worker alive through the death of a child: a guard around one lock that billiard shares with its children.

Each child of billiard 4.3 shares with the main process a counter with a lock, which it takes while it waits for its last
results to be read before it ends. One that is killed in that moment (the time limit sends SIGTERM, and SIGKILL a tenth
of a second later, just when the child looks again) takes the lock with it, and the main process waits for it for ever:
alive, and doing nothing. Only the main process writes the counter, so it needs no lock.
Bound to the place in billiard that makes the counter: a test fails when that moves. Remove it when upstream is fixed.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

from billiard.context import BaseContext
from billiard.sharedctypes import RawValue

GUARDED_LINE = "on_ready_counter = self._ctx.Value('i')"  # in billiard.pool.Pool._create_worker_process


class _Counter:
    """A shared number with one writer."""

    def __init__(self) -> None:
        self._raw: Any = RawValue("i")

    @property
    def value(self) -> int:
        return int(self._raw.value)

    @value.setter
    def value(self, value: int) -> None:
        self._raw.value = value

    def get_lock(self) -> AbstractContextManager[None]:
        """What the main process holds while it counts: nothing."""
        return nullcontext()


def guard_pool_counters() -> None:
    """Install the guard, once."""
    context: Any = BaseContext
    if getattr(context, "_thumbdrop_guarded", False):
        return
    original = context.Value

    def make(self: Any, kind: Any, *args: Any, **options: Any) -> Any:
        return _Counter() if kind == "i" and not args and not options else original(self, kind, *args, **options)

    context.Value = make
    context._thumbdrop_guarded = True  # noqa: SLF001
