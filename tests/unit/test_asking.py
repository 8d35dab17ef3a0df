"""Questions that may hang or fail: each gets its answer, and nobody is waited for longer than allowed."""

import threading
import time

from watcher.asking import ask, ask_all


def test_a_question_that_hangs_holds_up_neither_the_others_nor_us() -> None:
    never = threading.Event()
    started_at = time.monotonic()
    answers = ask_all({"hangs": never.wait, "answers": lambda: 42}, 0.05)
    never.set()
    assert time.monotonic() - started_at < 1
    assert answers["answers"].value == 42
    assert (answers["hangs"].value, answers["hangs"].error) == (None, "no answer within 0.05 s")


def test_an_error_is_an_answer_in_one_line_and_without_passwords() -> None:
    def fail() -> None:
        raise OSError("could not reach redis://:secret@host/0\nand more")

    assert ask(fail, 1).error == "could not reach redis://:***@host/0"


def test_a_wordless_error_is_told_by_its_name() -> None:
    def fail() -> None:
        raise TimeoutError

    assert ask(fail, 1).error == "TimeoutError"
