import fcntl
import mmap
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from needs import ROOT
from unprivileged import reachable_directory, run_as_nobody
from watcher.sighting import Sighting
from watcher.writers import ignore_sigio, see_with_writer, writer_of


@pytest.fixture(autouse=True)
def _sigio() -> Iterator[None]:
    before = signal.getsignal(signal.SIGIO)
    ignore_sigio()
    yield
    signal.signal(signal.SIGIO, before)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "b/a.jpg"
    path.parent.mkdir()
    path.write_bytes(b"photo")
    return path


def test_a_closed_file_has_no_writer_and_is_seen(photo: Path, tmp_path: Path) -> None:
    sighting, writer = see_with_writer(str(tmp_path), "b/a.jpg")
    assert writer == "none"
    assert isinstance(sighting, Sighting)
    assert (sighting.path, sighting.size_bytes, sighting.inode) == ("b/a.jpg", 5, photo.stat().st_ino)


def test_a_file_open_for_writing_in_this_or_another_process_has_a_writer(photo: Path, tmp_path: Path) -> None:
    with photo.open("ab"):
        assert writer_of(str(tmp_path), "b/a.jpg") == "open"
    assert writer_of(str(tmp_path), "b/a.jpg") == "none"
    program = "import sys; f = open(sys.argv[1], 'ab'); print('open', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", program, photo], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout
        child.stdout.readline()
        assert writer_of(str(tmp_path), "b/a.jpg") == "open"
        child.communicate()
    assert writer_of(str(tmp_path), "b/a.jpg") == "none"


def test_a_writer_through_a_mapping_is_seen_after_its_close(photo: Path, tmp_path: Path) -> None:
    with photo.open("r+b") as file:
        mapping = mmap.mmap(file.fileno(), 0)
    assert writer_of(str(tmp_path), "b/a.jpg") == "open"
    mapping.close()
    assert writer_of(str(tmp_path), "b/a.jpg") == "none"


def test_readers_are_no_writers(photo: Path, tmp_path: Path) -> None:
    with photo.open("rb"):
        assert writer_of(str(tmp_path), "b/a.jpg") == "none"


def test_the_lease_is_given_back_at_once(photo: Path, tmp_path: Path) -> None:
    assert writer_of(str(tmp_path), "b/a.jpg") == "none"
    descriptor = os.open(photo, os.O_WRONLY | os.O_NONBLOCK)  # which a lease would refuse
    assert fcntl.fcntl(descriptor, fcntl.F_GETLEASE) == fcntl.F_UNLCK
    os.close(descriptor)


def test_what_is_gone_or_no_regular_file_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.jpg")
    (tmp_path / "link.jpg").symlink_to("/etc/hostname")
    assert see_with_writer(str(tmp_path), "gone.jpg") == ("gone", "unknown")
    assert see_with_writer(str(tmp_path), "no/gone.jpg") == ("gone", "unknown")
    assert see_with_writer(str(tmp_path), "fifo.jpg") == ("not_regular", "unknown")
    assert see_with_writer(str(tmp_path), "link.jpg") == ("not_regular", "unknown")


@pytest.mark.root
@pytest.mark.parametrize("mode", [0o644, 0o600])
def test_a_file_of_another_user_is_seen_but_its_writer_is_unknown(mode: int) -> None:
    with reachable_directory() as inbox:
        (inbox / "a.jpg").write_bytes(b"photo")
        (inbox / "a.jpg").chmod(mode)
        told = run_as_nobody(
            """
            import sys
            from watcher.writers import see_with_writer
            become_nobody()
            print(*see_with_writer(sys.argv[1], "a.jpg"))
            """,
            inbox,
        )
    assert "size_bytes=5" in told
    assert told.split()[-1] == "unknown"


def test_a_writer_that_opens_under_the_lease_does_not_kill_the_watcher(photo: Path) -> None:
    program = (
        "import fcntl, os, sys\n"
        "from watcher.writers import ignore_sigio\n"
        "ignore_sigio()\n"
        "fd = os.open(sys.argv[1], os.O_RDONLY)\n"
        "fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)\n"
        "print('held', flush=True)\n"
        "sys.stdin.readline()\n"
        "print('alive', flush=True)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, photo],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={"PYTHONPATH": str(ROOT)},
    ) as child:
        assert child.stdout
        assert child.stdin
        assert child.stdout.readline() == b"held\n"
        with pytest.raises(BlockingIOError):  # and SIGIO is on its way
            os.open(photo, os.O_WRONLY | os.O_NONBLOCK)
        child.stdin.write(b"\n")
        child.stdin.flush()
        assert child.stdout.readline() == b"alive\n"
