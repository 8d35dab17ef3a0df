"""Questions to things that may hang: all asked at once, none waited for longer than a given time.

For the commands that report. What a reader would get wrong: a thread that hangs cannot be ended, so it is a daemon
thread that the end of the command abandons; a long-running process must not ask in this way.
"""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from config.addresses import without_passwords

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Answer(Generic[Value]):
    """What was answered; `value` is None exactly when `error` says why not."""

    value: Value | None
    error: str = ""


def ask_all(questions: Mapping[str, Callable[[], Any]], seconds: float) -> dict[str, Answer[Any]]:
    """Ask every question in a thread of its own; those that do not answer within `seconds` are "no answer"."""
    answers: dict[str, Answer[Any]] = {}
    threads = [
        threading.Thread(target=_ask, args=(name, question, answers), daemon=True, name=f"ask {name}")
        for name, question in questions.items()
    ]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + seconds
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return {name: answers.get(name) or Answer(None, f"no answer within {seconds:g} s") for name in questions}


def ask(question: Callable[[], Value], seconds: float) -> Answer[Value]:
    """Ask one question in the same way."""
    return ask_all({"it": question}, seconds)["it"]


def _ask(name: str, question: Callable[[], Any], answers: dict[str, Answer[Any]]) -> None:
    try:
        answers[name] = Answer(question())
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the answer
        answers[name] = Answer(None, explain(error))


def explain(error: BaseException) -> str:
    """Put an error into one line without passwords: what libraries raise is often wordless or names the address."""
    text = str(error).strip().splitlines()
    return without_passwords(text[0] if text else type(error).__name__)
