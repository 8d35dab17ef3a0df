"""Whether a program still writes a file, as the worker asks the kernel; no process may die of asking."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from needs import ROOT
from tasks.far_source import FarInbox, FarSource
from tasks.source import open_source
from unprivileged import reachable_directory, run_as_nobody

WRITER = "import sys; f = open(sys.argv[1], 'ab'); print('open', flush=True); sys.stdin.read()"


def has_writer(inbox: Path) -> bool:
    with open_source(inbox, "a.jpg") as source:
        return source.has_writer()


def test_a_writer_in_another_process_is_seen_and_its_end_too(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"photo")
    assert not has_writer(tmp_path)
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, tmp_path / "a.jpg"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        assert has_writer(tmp_path)
        child.communicate()
    assert not has_writer(tmp_path)


def test_a_reader_is_no_writer(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"photo")
    with (tmp_path / "a.jpg").open("rb"):
        assert not has_writer(tmp_path)


ASK_ON = """
    import sys
    from pathlib import Path
    from tasks.source import open_source
    become_nobody()
    with open_source(Path(sys.argv[1]), "a.jpg") as source, open(Path(sys.argv[1]) / "a.jpg", "r+b"):
        print(source.has_writer())
"""


@pytest.mark.root
def test_of_another_users_file_nothing_is_known_and_nothing_claimed() -> None:
    with reachable_directory() as inbox:
        (inbox / "a.jpg").write_bytes(b"photo")
        (inbox / "a.jpg").chmod(0o666)
        assert run_as_nobody(ASK_ON, inbox) == "False\n"
        os.chown(inbox / "a.jpg", 65534, 65534)
        assert run_as_nobody(ASK_ON, inbox) == "True\n"


def test_our_own_copy_of_a_far_file_is_not_taken_for_its_writer(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"photo")
    far = FarInbox(tmp_path, 10.0)
    with FarSource(far, "a.jpg") as source:
        assert source.file.read() == b"photo"
        assert not source.has_writer()
    far._drop()


ASK_WITHOUT_END = """
    import sys
    from pathlib import Path
    from tasks.source import open_source
    with open_source(Path(sys.argv[1]), "a.jpg") as source:
        print("asking", flush=True)
        for _ in range(20_000):
            source.has_writer()
    print("alive")
"""


def test_a_writer_that_comes_in_the_moment_of_the_question_kills_nobody(tmp_path: Path) -> None:
    """The kernel breaks the lease with a signal, by default SIGIO, whose default is death."""
    (tmp_path / "a.jpg").write_bytes(b"photo")
    code = "\n".join(line[4:] for line in ASK_WITHOUT_END.splitlines())
    with subprocess.Popen(
        [sys.executable, "-c", code, tmp_path], stdout=subprocess.PIPE, text=True, env={"PYTHONPATH": str(ROOT)}
    ) as asking:
        assert asking.stdout is not None
        assert asking.stdout.readline() == "asking\n"
        while asking.poll() is None:
            with (tmp_path / "a.jpg").open("r+b"):
                pass
        assert asking.stdout.read() == "alive\n"
    assert asking.returncode == 0
