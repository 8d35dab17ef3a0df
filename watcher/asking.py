"""Questions to things that may hang: all asked at once, none waited for longer than a given time.

For the commands that report. What a reader would get wrong: a thread that hangs cannot be ended, so it is a daemon
thread that the end of the command abandons; a long-running process must not ask in this way. And a thread that hangs in
a network file system keeps even its process from ending, so such questions are put to a process of their own.
"""

import os
import pickle
import selectors
import signal
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from config.addresses import without_passwords

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Answer(Generic[Value]):
    """What was answered; `value` is None exactly when `error` says why not."""

    value: Value | None
    error: str = ""


def ask_all(
    questions: Mapping[str, Callable[[], Any]], seconds: float, apart: Collection[str] = ()
) -> dict[str, Answer[Any]]:
    """Ask every question in a thread of its own; those that do not answer within `seconds` are "no answer".

    Those named in `apart` touch network file systems: each is asked in a process of its own, and its answer is pickled.
    """
    answers: dict[str, Answer[Any]] = {}
    children = {
        name: _Child(questions[name]) for name in questions if name in apart
    }  # first, for threads do not fork well
    threads = [
        threading.Thread(target=_ask, args=(name, question, answers), daemon=True, name=f"ask {name}")
        for name, question in questions.items()
        if name not in children
    ]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + seconds
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    for name, child in children.items():
        if (answer := child.answer(deadline)) is not None:
            answers[name] = answer
    return {name: answers.get(name) or Answer(None, f"no answer within {seconds:g} s") for name in questions}


def ask(question: Callable[[], Value], seconds: float, *, apart: bool = False) -> Answer[Value]:
    """Ask one question in the same way."""
    return ask_all({"it": question}, seconds, {"it"} if apart else ())["it"]


class _Child:
    """A forked process that answers one question; one that hangs is killed and left to the kernel."""

    def __init__(self, question: Callable[[], Any]) -> None:
        self._read, write = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            os.close(self._read)
            _answer_and_end(question, write)
        os.close(write)

    def answer(self, deadline: float) -> Answer[Any] | None:
        """Wait for the answer until monotonic `deadline`; None when there is none."""
        said, has_ended = b"", False
        try:
            with selectors.DefaultSelector() as selector:
                selector.register(self._read, selectors.EVENT_READ)
                while selector.select(max(0.0, deadline - time.monotonic())):
                    read = os.read(self._read, 1 << 16)
                    said += read
                    if not read:
                        has_ended = True
                        answer: Answer[Any] = pickle.loads(said)  # noqa: S301 - it is our own process's
                        return answer
        except (EOFError, pickle.UnpicklingError):
            return Answer(None, "the process that looked died")
        finally:
            os.close(self._read)
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0 if has_ended else os.WNOHANG)
        return None


def _answer_and_end(question: Callable[[], Any], write: int) -> None:
    try:
        nowhere = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):  # whoever reads what the command prints must not wait for this process
            os.dup2(nowhere, descriptor)
        answers: dict[str, Answer[Any]] = {}
        _ask("it", question, answers)
        with open(write, "wb") as pipe:
            pickle.dump(answers["it"], pipe)
    finally:
        os._exit(0)  # the rest of the program belongs to the parent


def _ask(name: str, question: Callable[[], Any], answers: dict[str, Answer[Any]]) -> None:
    try:
        answers[name] = Answer(question())
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the answer
        answers[name] = Answer(None, explain(error))


def explain(error: BaseException) -> str:
    """Put an error into one line without passwords: what libraries raise is often wordless or names the address."""
    text = str(error).strip().splitlines()
    return without_passwords(text[0] if text else type(error).__name__)
