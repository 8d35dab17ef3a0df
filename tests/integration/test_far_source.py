"""The far end of an inbox, run on a local folder: whoever asks cannot tell the difference, until it is silent or dies."""

import hashlib
import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from config.settings import Settings
from ingesting import arrival_of, carried_out, library_settings, publish
from tasks.errors import GoneError, InputError, Reason, TransientError
from tasks.far_source import FarInbox, FarSource, Reach
from tasks.library import Library
from tasks.quarantine import Quarantine
from tasks.source import Source, open_source
from waiting import wait_until

CONTENT = bytes(range(256)) * 4000
_SILENCE_SECONDS = 3.0


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    (tmp_path / "a").mkdir()
    (tmp_path / os.fsdecode(b"a/caf\xe9.jpg")).write_bytes(CONTENT)
    return tmp_path


@pytest.fixture
def far(inbox: Path) -> Iterator[FarInbox]:
    far = FarInbox(inbox, _SILENCE_SECONDS)
    yield far
    far._drop()


NAME = os.fsdecode(b"a/caf\xe9.jpg")


def test_a_far_file_has_the_facts_and_the_content_of_the_file(far: FarInbox, inbox: Path) -> None:
    with FarSource(far, NAME) as source, open_source(inbox, NAME) as near:
        assert source.name == near.name
        for fact in ("st_mode", "st_ino", "st_dev", "st_nlink", "st_uid", "st_size", "st_mtime_ns", "st_ctime_ns"):
            assert getattr(source.stat, fact) == getattr(near.stat, fact), fact
        assert source.file.read() == CONTENT
        assert source.sha256() == hashlib.sha256(CONTENT).hexdigest()
        assert source.is_unchanged()
        assert source.stands()


def test_a_far_file_that_is_changed_or_replaced_is_noticed_and_not_removed(far: FarInbox, inbox: Path) -> None:
    with FarSource(far, NAME) as source:
        (inbox / NAME).write_bytes(b"another")
        assert not source.is_unchanged()
        assert source.file.read() in (CONTENT, b"another"[: len(CONTENT)])
        assert not source.remove()
    with FarSource(far, NAME) as source:
        (inbox / "new").write_bytes(CONTENT)
        (inbox / "new").rename(inbox / NAME)
        assert not source.stands()
        assert not source.remove()
    assert (inbox / NAME).read_bytes() == CONTENT


def test_a_far_file_is_removed_and_leaves_nothing_behind(far: FarInbox, inbox: Path) -> None:
    with FarSource(far, NAME) as source:
        assert source.remove()
    assert os.listdir(inbox / "a") == []


def test_what_is_wrong_with_a_far_file_is_told_as_for_a_near_one(far: FarInbox, inbox: Path) -> None:
    (inbox / "link.jpg").symlink_to("/etc/passwd")
    for name in ("nothing.jpg", "link.jpg", "../x.jpg"):
        with pytest.raises(GoneError) as near:
            open_source(inbox, name)
        with pytest.raises(GoneError) as told:
            FarSource(far, name)
        assert (told.value.message, told.value.reason) == (near.value.message, near.value.reason)


def test_a_far_end_that_is_silent_is_left_alone_until_it_has_finished(far: FarInbox, inbox: Path) -> None:
    with FarSource(far, NAME) as source:
        pid = far_end_of(inbox)
        os.kill(pid, signal.SIGSTOP)
        began_at = time.monotonic()
        with pytest.raises(TransientError, match="does not answer within 3 s"):
            source.remove()
        assert time.monotonic() - began_at < _SILENCE_SECONDS + 2
    # There is one process at a time, so nothing piles up, and who asks need not wait.
    began_at = time.monotonic()
    with pytest.raises(TransientError, match="does not answer yet"):
        FarSource(far, NAME)
    assert time.monotonic() - began_at < 1
    assert (inbox / NAME).read_bytes() == CONTENT
    os.kill(pid, signal.SIGCONT)
    wait_until(lambda: os.listdir(inbox / "a") == [], "what was asked of it is done, in whole")
    wait_until(lambda: far._left is None or far._left.poll() is not None, "it has ended")
    (inbox / NAME).write_bytes(b"next")
    with FarSource(far, NAME) as source:
        assert source.file.read() == b"next"


class Unanswered(FarSource):
    """A file whose removal succeeds, and the answer to it is lost."""

    def remove(self) -> bool:
        """Remove it, and say that nobody knows."""
        super().remove()
        raise TransientError("no answer")


def test_an_original_stays_known_when_the_answer_to_its_removal_is_lost(
    far: FarInbox, inbox: Path, tmp_path: Path
) -> None:
    library = Library(library_settings(tmp_path / "library"))
    with Unanswered(far, NAME) as source:
        slot = publish(library, inbox, source)
        with pytest.raises(TransientError):
            carried_out(library, library.archive(slot, source))
    manifest = library.manifest(slot)
    assert manifest is not None
    assert manifest.original is not None
    assert (tmp_path / "library" / manifest.original).read_bytes() == CONTENT


def test_a_quarantined_file_is_not_lost_with_the_answer_to_its_removal(
    far: FarInbox, inbox: Path, tmp_path: Path
) -> None:
    quarantine = Quarantine(Settings.model_construct(library=library_settings(tmp_path / "library")))
    why = InputError(Reason.CORRUPT, "bad")
    with Unanswered(far, NAME) as source, pytest.raises(TransientError):
        quarantine.put(arrival_of(inbox, NAME), source, why, attempts=1, first_seen_at=None, keep=False)
    assert os.listdir(inbox / "a") == []
    (entry,) = quarantine.entries()
    assert entry.has_file
    assert (tmp_path / "library" / entry.path).read_bytes() == CONTENT


def test_after_the_far_end_died_there_is_another(far: FarInbox, inbox: Path) -> None:
    with FarSource(far, NAME) as source:
        os.kill(far_end_of(inbox), signal.SIGKILL)
        with pytest.raises(TransientError, match="died"):
            source.stands()
    with FarSource(far, NAME) as source:
        assert source.stands()


def test_a_far_end_closes_the_file_with_its_source_and_ends_with_whoever_started_it(far: FarInbox, inbox: Path) -> None:
    with FarSource(far, NAME):
        pid = far_end_of(inbox)
        assert str(inbox / NAME) in open_files(pid)
    assert not [file for file in open_files(pid) if file.startswith(str(inbox))]
    far._drop()
    wait_until(lambda: not Path(f"/proc/{pid}/cmdline").exists(), "it has ended")


def test_a_local_inbox_is_worked_in_directly(inbox: Path, tmp_path: Path) -> None:
    reach = Reach(tmp_path, _SILENCE_SECONDS, max_bytes=10**9)
    with reach.open(inbox, NAME) as source:
        assert type(source) is Source


def far_end_of(inbox: Path) -> int:
    for name in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError):
            words = Path(f"/proc/{name}/cmdline").read_bytes().split(b"\0")
            if b"tasks.far_end" in words and os.fsencode(inbox) in words:
                return int(name)
    raise AssertionError("there is none")


def open_files(pid: int) -> set[str]:
    return {os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")}
