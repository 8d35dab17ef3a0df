"""The loop that keeps parts running, with real processes and real signals."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator

import pytest

from waiting import wait_until
from watcher.crew import Crew, Ladder, Part

SOFT_THEN_HARD: Ladder = ((signal.SIGTERM, 0.3), (signal.SIGKILL, 5.0))
Said = list[tuple[str, str]]


@pytest.fixture
def said() -> Said:
    return []


@pytest.fixture
def crew(said: Said) -> Iterator[Crew]:
    crew = Crew(os.environ, lambda name, line: said.append((name, line)))
    with crew.listening():
        yield crew
        for part in crew._parts:
            crew.stop(part)


def shell(name: str, script: str, ladder: Ladder = SOFT_THEN_HARD) -> Part:
    return Part(name, lambda: ["sh", "-c", script], ladder)


def test_lines_are_passed_on_whole_with_the_part_s_name(crew: Crew, said: Said) -> None:
    part = shell("worker", "printf 'half '; sleep 0.1; echo line; echo oops >&2; printf 'no newline'; sleep 0.1")
    crew.start(part)
    assert crew.wait_for(lambda: ("worker", "no newline") in said, 10)
    assert said[:2] == [("worker", "half line"), ("worker", "oops")]


def test_a_part_that_dies_is_started_again_after_a_second_and_that_is_said(crew: Crew, said: Said) -> None:
    part = shell("beat", "echo begun; exit 3")
    started_at = time.monotonic()
    crew.start(part)
    assert crew.wait_for(lambda: said.count(("beat", "begun")) == 2, 10)
    assert time.monotonic() - started_at > 0.9
    assert said[1] == ("up", "beat ended with exit code 3; starting it again in 1 s")


def test_a_part_whose_program_is_missing_is_tried_again_later(crew: Crew, said: Said) -> None:
    crew.start(Part("redis", lambda: ["/nowhere/redis-server"], SOFT_THEN_HARD))
    assert said[0][1].startswith("redis could not be started: ")
    assert said[0][1].endswith("starting it again in 1 s")


def test_a_part_that_found_the_settings_wrong_ends_everything(crew: Crew) -> None:
    crew.start(shell("watcher", "exit 78"))
    crew.run()
    assert crew.has_wrong_settings


def test_a_part_that_ignores_the_polite_signal_gets_the_firm_one(crew: Crew, said: Said) -> None:
    part = shell("worker", "trap '' TERM; echo ready; while :; do sleep 0.05; done")
    crew.start(part)
    assert crew.wait_for(lambda: ("worker", "ready") in said, 10)
    crew.stop(part)
    assert part.child is None
    assert part.exit_code == -signal.SIGKILL


def test_a_polite_part_is_not_killed(crew: Crew, said: Said) -> None:
    part = shell("worker", "trap 'exit 0' TERM; echo ready; while :; do sleep 0.05; done")
    crew.start(part)
    assert crew.wait_for(lambda: ("worker", "ready") in said, 10)
    crew.stop(part)
    assert part.exit_code == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_run(crew: Crew, number: signal.Signals) -> None:
    crew.start(shell("worker", "sleep 60"))
    os.kill(os.getpid(), number)
    crew.run()
    assert crew.should_stop


def test_a_second_ctrl_c_does_not_wait_for_the_polite_signal_to_work(crew: Crew, said: Said) -> None:
    part = shell(
        "worker",
        "trap '' TERM; echo ready; while :; do sleep 0.05; done",
        ((signal.SIGTERM, 60.0), (signal.SIGKILL, 5.0)),
    )
    crew.start(part)
    assert crew.wait_for(lambda: ("worker", "ready") in said, 10)
    os.kill(os.getpid(), signal.SIGINT)
    crew.run()
    second = subprocess.Popen(["sh", "-c", f"sleep 0.3; kill -INT {os.getpid()}"])
    crew.stop(part)
    assert part.exit_code == -signal.SIGKILL
    assert second.wait(10) == 0


def test_the_parts_do_not_hear_the_terminal_s_ctrl_c(crew: Crew, said: Said) -> None:
    part = shell("worker", "echo ready; sleep 60")
    crew.start(part)
    assert crew.wait_for(lambda: ("worker", "ready") in said, 10)
    assert part.child
    assert os.getsid(part.child.pid) == part.child.pid


def test_a_part_that_closes_its_output_does_not_keep_the_loop_spinning(crew: Crew) -> None:
    part = shell("worker", "exec >&- 2>&-; sleep 60")
    crew.start(part)
    assert crew.wait_for(lambda: part.child is not None and part.child.has_closed_output, 10)
    before = time.process_time()
    crew.wait_for(lambda: False, 0.5)
    assert time.process_time() - before < 0.1
    crew.stop(part)


PARENT = """
    import os, time
    from watcher.children import Child
    child = Child(["sleep", "60"], os.environ)
    print(child.pid, flush=True)
    time.sleep(60)
"""


def test_killing_the_parent_leaves_no_children_behind() -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(PARENT)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert parent.stdout
    child = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    wait_until(lambda: not is_running(child), "the child is gone")


def is_running(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] not in ("Z", "X")
    except FileNotFoundError:
        return False
