"""What ended a worker's child in the middle of an image, and whether the image is to blame. Pure.

What a reader would get wrong: a decoder that goes astray is ended by its own fault (SIGSEGV, SIGABRT ...), which counts
against the file soon. SIGKILL and SIGTERM come from outside: a deploy, an operator, or the kernel when memory is short,
which may hit the innocent. They count like a worker that vanished, of which a good file survives more. SIGXCPU is the
kernel's word for too much processor time (tasks/child_limits.py), SIGALRM for too much time (tasks/batch_pool.py).
"""

import re
import signal

from billiard.exceptions import TimeLimitExceeded, WorkerLostError

from tasks.errors import IngestError, Reason

# billiard keeps the exit status nowhere but in this text: billiard.common.human_status.
_SIGNAL = re.compile(r"\bsignal (\d+)")
_EXIT_CODE = re.compile(r"\bexitcode (-?\d+)")
_FROM_OUTSIDE = {signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT}

_TOO_LONG = "it took longer than limits.task_time allows"
_FAILED = {Reason.CRASHED_WORKER: "crashed", Reason.TIMED_OUT: "timed_out", Reason.LOST_WORKER: "vanished"}


def why_lost(error: WorkerLostError | TimeLimitExceeded) -> IngestError:
    """What the end of a child means for the image at hand: crashed_worker, timed_out or lost_worker."""
    if isinstance(error, TimeLimitExceeded):
        return IngestError(Reason.TIMED_OUT, _TOO_LONG)
    if found := _SIGNAL.search(str(error)):
        number = int(found[1])
        if number == signal.SIGXCPU:
            return IngestError(Reason.TIMED_OUT, "it took more processor time than limits.cpu_time allows")
        if number == signal.SIGALRM:
            return IngestError(Reason.TIMED_OUT, _TOO_LONG)
        reason = Reason.LOST_WORKER if number in _FROM_OUTSIDE else Reason.CRASHED_WORKER
        return IngestError(reason, f"its worker was killed by {_name(number)}")
    found = _EXIT_CODE.search(str(error))
    if found and int(found[1]) != 0:  # a library that called exit()
        return IngestError(Reason.CRASHED_WORKER, f"its worker ended with exit code {found[1]}")
    return IngestError(Reason.LOST_WORKER, "its worker ended, nobody knows how")


def failed_counter(why: IngestError) -> str:
    """The counter in tasks/leases.py that the lost attempt moves to."""
    return _FAILED[why.reason]


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
