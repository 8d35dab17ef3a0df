"""Questions put to processes of their own, for what hangs in a network mount cannot be killed."""

import os
import subprocess
import sys
import time

from watcher.asking import Answer, ask, ask_all


def test_a_question_that_may_hang_for_ever_is_put_to_a_process_of_its_own() -> None:
    answers = ask_all({"pid": os.getpid, "wrong": lambda: 1 // 0, "near": os.getpid}, 10, apart={"pid", "wrong"})
    assert answers["pid"].value not in (None, os.getpid())
    assert answers["wrong"] == Answer(None, "integer division or modulo by zero")
    assert answers["near"].value == os.getpid()


def test_a_process_that_does_not_answer_is_left_behind() -> None:
    began_at = time.monotonic()
    assert ask(lambda: time.sleep(60), 0.2, apart=True) == Answer(None, "no answer within 0.2 s")
    assert time.monotonic() - began_at < 5


def test_a_process_that_hangs_holds_nobody_up_who_reads_what_the_command_prints() -> None:
    read, write = os.pipe()
    program = "import time; from watcher.asking import ask; ask(lambda: time.sleep(5), 0.2, apart=True)"
    # The kill is taken out: a process that hangs in a network mount outlives it.
    program = f"import os; os.kill = lambda *_: None; {program}"
    began_at = time.monotonic()
    subprocess.run([sys.executable, "-c", program], stdout=write, check=True)
    os.close(write)
    assert os.read(read, 1) == b""
    os.close(read)
    assert time.monotonic() - began_at < 4
