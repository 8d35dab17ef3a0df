import errno
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from needs import ROOT, missing, need
from unprivileged import reachable_directory, run_as_nobody
from waiting import wait_until
from watcher.collector import HintKind, Trouble, TroubleKind
from watcher.hints import Hints
from watcher.names import Names

NAMES = Names(("raw/",), ("jpg",))


class Ears:
    """Hints of one or more inboxes, collected until a test has heard what it waits for."""

    def __init__(self, limit: int = 10_000) -> None:
        self.woken = threading.Event()
        self.hints = Hints(self.woken.set, limit)
        self.heard: list[tuple[str, str, HintKind]] = []
        self.troubles: list[Trouble] = []

    def listen(self) -> None:
        hints, troubles = self.hints.drain()
        self.heard += [(hint.inbox, hint.path, hint.kind) for hint in hints]
        self.troubles += troubles

    def hears(self, path: str, kind: HintKind, inbox: str = "in") -> None:
        self._wait(lambda: (inbox, path, kind) in self.heard, f"{kind} {path}")

    def reports(self, kind: TroubleKind, inbox: str = "in") -> Trouble:
        def found() -> list[Trouble]:
            return [trouble for trouble in self.troubles if (trouble.inbox, trouble.kind) == (inbox, kind)]

        self._wait(found, f"trouble {kind}")
        return found()[0]

    def watches(self, number: int) -> None:
        self._wait(lambda: self.hints.watches("in") == number, f"{number} watches, not {self.hints.watches('in')}")

    def _wait(self, condition: Callable[[], Any], what: str) -> None:
        def heard() -> bool:
            self.listen()
            return bool(condition())

        wait_until(heard, f"{what}; heard {self.heard[-5:]}, {self.troubles}", seconds=5)


@pytest.fixture
def ears() -> Iterator[Ears]:
    ears = Ears()
    yield ears
    ears.hints.close()


@pytest.fixture
def inbox(tmp_path: Path, ears: Ears) -> Path:
    path = tmp_path / "inbox"
    for directory in ("b/c", ".hidden/x", "raw/x", "@eaDir", "nas"):
        (path / directory).mkdir(parents=True)
    assert ears.hints.arm("in", str(path), NAMES, leave_out=("nas",)) == 3
    return path


def write(path: Path) -> Path:
    path.write_bytes(b"photo")
    return path


def test_a_written_file_is_a_close_and_wakes_the_loop(ears: Ears, inbox: Path) -> None:
    write(inbox / "b/c/a.jpg")
    assert ears.woken.wait(5)
    ears.hears("b/c/a.jpg", "closed")


def test_a_link_is_a_touch_and_an_sftp_rename_is_told_apart(ears: Ears, inbox: Path) -> None:
    temporary = write(inbox / "b/a.jpg.filepart")
    os.link(temporary, inbox / "b/linked.jpg")
    ears.hears("b/linked.jpg", "touched")
    os.link(temporary, inbox / "b/a.jpg")
    temporary.unlink()
    ears.hears("b/a.jpg", "renamed")


def test_a_rename_into_place_is_a_move_wherever_it_comes_from(ears: Ears, inbox: Path, tmp_path: Path) -> None:
    write(inbox / ".x.jpg.tmp").rename(inbox / "x.jpg")
    ears.hears("x.jpg", "moved_in")
    write(tmp_path / "y.jpg").rename(inbox / "b/y.jpg")
    ears.hears("b/y.jpg", "moved_in")
    (inbox / "x.jpg").rename(inbox / "b/z.jpg")
    ears.hears("x.jpg", "gone")
    ears.hears("b/z.jpg", "moved_in")


def test_deleting_and_moving_out_are_both_gone(ears: Ears, inbox: Path, tmp_path: Path) -> None:
    write(inbox / "a.jpg").unlink()
    ears.hears("a.jpg", "gone")
    write(inbox / "b.jpg").rename(tmp_path / "b.jpg")
    ears.hears("b.jpg", "gone")


def test_a_chmod_is_a_change_of_attributes(ears: Ears, inbox: Path) -> None:
    write(inbox / "a.jpg")
    ears.hears("a.jpg", "closed")
    (inbox / "a.jpg").chmod(0o600)
    ears.hears("a.jpg", "attributes")


def test_reading_causes_no_event(ears: Ears, inbox: Path) -> None:
    write(inbox / "a.jpg")
    ears.hears("a.jpg", "closed")
    ears.woken.clear()
    (inbox / "a.jpg").read_bytes()
    list(inbox.iterdir())
    assert not ears.woken.wait(0.2)


def test_what_follows_a_file_moved_out_is_not_held_up(ears: Ears, inbox: Path, tmp_path: Path) -> None:
    write(inbox / "a.jpg")
    ears.hears("a.jpg", "closed")
    began = time.monotonic()
    (inbox / "a.jpg").rename(tmp_path / "a.jpg")
    write(inbox / "next.jpg")
    ears.hears("next.jpg", "closed")
    assert time.monotonic() - began < 0.3  # watchdog's own delay is half a second


def test_a_new_directory_is_a_hint_and_watched(ears: Ears, inbox: Path) -> None:
    (inbox / "new/deep").mkdir(parents=True)
    ears.hears("new", "directory")
    ears.watches(5)
    write(inbox / "new/deep/a.jpg")
    ears.hears("new/deep/a.jpg", "closed")


def test_a_tree_moved_in_is_one_hint_and_watched(ears: Ears, inbox: Path, tmp_path: Path) -> None:
    (tmp_path / "trip/day").mkdir(parents=True)
    write(tmp_path / "trip/day/a.jpg")
    (tmp_path / "trip").rename(inbox / "trip")
    ears.hears("trip", "directory")
    write(inbox / "trip/day/later.jpg")
    ears.hears("trip/day/later.jpg", "closed")
    assert "trip/day/a.jpg" not in [path for _, path, _ in ears.heard]  # the look below it finds that


def test_a_hidden_tree_that_is_shown_is_one_hint_and_watched(ears: Ears, inbox: Path) -> None:
    write(inbox / ".hidden/x/a.jpg")
    (inbox / ".hidden").rename(inbox / "shown")
    ears.hears("shown", "directory")
    write(inbox / "shown/x/later.jpg")
    ears.hears("shown/x/later.jpg", "closed")
    assert "shown/x/a.jpg" not in [path for _, path, _ in ears.heard]


def test_a_directory_renamed_within_the_tree_is_known_by_its_new_name(ears: Ears, inbox: Path) -> None:
    (inbox / "b").rename(inbox / "moved")
    ears.hears("moved", "directory")
    write(inbox / "moved/c/a.jpg")
    ears.hears("moved/c/a.jpg", "closed")
    ears.watches(3)


def test_a_directory_moved_out_is_no_longer_watched(ears: Ears, inbox: Path, tmp_path: Path) -> None:
    (inbox / "b").rename(tmp_path / "out")
    ears.watches(1)
    (inbox / "b").mkdir()
    ears.hears("b", "directory")
    write(tmp_path / "out/outside.jpg")
    write(inbox / "b/inside.jpg")
    ears.hears("b/inside.jpg", "closed")
    assert "b/outside.jpg" not in [path for _, path, _ in ears.heard]
    (tmp_path / "out").rename(inbox / "back")
    ears.hears("back", "directory")
    write(inbox / "back/c/a.jpg")
    ears.hears("back/c/a.jpg", "closed")


def test_ignored_directories_get_no_watch_even_when_they_appear_later(ears: Ears, inbox: Path) -> None:
    for directory in (".later", "raw/y", "__MACOSX", "nas/y"):
        (inbox / directory).mkdir()
    write(inbox / ".later/a.jpg")
    write(inbox / "raw/y/a.jpg")
    write(inbox / "nas/a.jpg")
    write(inbox / "last.jpg")
    ears.hears("last.jpg", "closed")
    assert {path for _, path, _ in ears.heard} == {"last.jpg"}
    assert ears.hints.watches("in") == 3


def test_a_link_to_a_directory_is_not_watched(ears: Ears, inbox: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (inbox / "link").symlink_to(tmp_path / "outside")
    (inbox / "photos.jpg").symlink_to(tmp_path / "outside")
    ears.hears("photos.jpg", "touched")
    assert ears.hints.watches("in") == 3


def test_names_that_are_not_utf_8_are_heard(ears: Ears, inbox: Path) -> None:
    directory, name = os.fsdecode(b"caf\xe9"), os.fsdecode(b"\xff\n.jpg")
    (inbox / directory).mkdir()
    ears.hears(directory, "directory")
    write(inbox / directory / name)
    ears.hears(f"{directory}/{name}", "closed")


def test_several_inboxes_are_heard_apart_and_disarmed_apart(ears: Ears, inbox: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    (other / "d").mkdir(parents=True)
    assert ears.hints.arm("other", str(other), NAMES) == 2
    write(other / "a.jpg")
    ears.hears("a.jpg", "closed", inbox="other")
    (inbox / "b").rename(other / "from-in")
    ears.hears("from-in", "directory", inbox="other")
    write(other / "from-in/c/a.jpg")
    ears.hears("from-in/c/a.jpg", "closed", inbox="other")
    ears.watches(1)
    ears.hints.disarm("other")
    assert ears.hints.watches("other") == 0
    write(other / "unheard.jpg")
    write(inbox / "heard.jpg")
    ears.hears("heard.jpg", "closed")
    assert not [path for _, path, _ in ears.heard if path == "unheard.jpg"]
    assert ears.troubles == []


def test_more_paths_than_are_kept_ask_for_a_rescan(inbox: Path) -> None:
    ears = Ears(limit=5)
    ears.hints.arm("in", str(inbox), NAMES)
    for number in range(20):
        write(inbox / f"{number}.jpg")
    assert ears.reports("dropped").count > 0
    ears.hints.close()


def test_a_root_that_was_deleted_is_lost_and_can_be_armed_again(ears: Ears, inbox: Path) -> None:
    shutil.rmtree(inbox)
    ears.reports("root_lost")
    assert ears.hints.watches("in") == 0
    with pytest.raises(FileNotFoundError):
        ears.hints.arm("in", str(inbox), NAMES)
    inbox.mkdir()
    assert ears.hints.arm("in", str(inbox), NAMES) == 1
    write(inbox / "a.jpg")
    ears.hears("a.jpg", "closed")
    assert [trouble.kind for trouble in ears.troubles] == ["root_lost"]


def test_a_root_that_was_moved_away_is_lost_and_never_heard_under_the_old_name(
    ears: Ears, inbox: Path, tmp_path: Path
) -> None:
    inbox.rename(tmp_path / "old")
    inbox.mkdir()
    ears.reports("root_lost")
    ears.hints.arm("in", str(inbox), NAMES)
    write(tmp_path / "old/old.jpg")
    write(inbox / "new.jpg")
    ears.hears("new.jpg", "closed")
    assert "old.jpg" not in [path for _, path, _ in ears.heard]


def test_a_root_that_is_a_link_is_refused(ears: Ears, inbox: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(inbox)
    with pytest.raises(NotADirectoryError):
        ears.hints.arm("link", str(tmp_path / "link"), NAMES)


@pytest.mark.parametrize("which", ["reader", "emitter"])
def test_a_thread_that_died_is_noticed_and_everything_can_be_armed_again(ears: Ears, inbox: Path, which: str) -> None:
    emitter = ears.hints._emitters["in"]
    thread = emitter._reader if which == "reader" else emitter
    thread._stopped_event.set()  # it ends with its next event
    write(inbox / "a.jpg")
    thread.join(5)
    ears.reports("dead")
    assert ears.hints.arm("in", str(inbox), NAMES) == 4
    write(inbox / "b.jpg")
    ears.hears("b.jpg", "closed")


def test_a_failure_in_the_bookkeeping_of_watches_is_reported_and_survived(ears: Ears, inbox: Path) -> None:
    group = ears.hints._emitters["in"]._inotify
    assert group
    group._active_callbacks_by_watch = None  # type: ignore[assignment] # as a bug would leave it
    write(inbox / "a.jpg")
    assert "Error" in ears.reports("dead").detail
    ears.hints.arm("in", str(inbox), NAMES)
    write(inbox / "b.jpg")
    ears.hears("b.jpg", "closed")


def test_churn_of_directories_leaves_the_watching_whole(ears: Ears, inbox: Path, tmp_path: Path) -> None:
    ends_at = time.monotonic() + 1.5
    number = 0
    while time.monotonic() < ends_at:
        number += 1
        (inbox / f"d{number}/e/f").mkdir(parents=True)
        write(inbox / f"d{number}/e/a.jpg")
        (inbox / f"d{number}/e").rename(inbox / f"e{number}")
        (inbox / f"d{number}").rename(inbox / f"e{number}/f/g")
        if number % 3 == 0:
            (inbox / f"e{number}").rename(tmp_path / f"out{number}")
            (tmp_path / f"out{number}").rename(inbox / f"in{number}")
            shutil.rmtree(inbox / f"in{number}")
        else:
            shutil.rmtree(inbox / f"e{number}")
        ears.listen()
    write(inbox / "b/c/last.jpg")
    ears.hears("b/c/last.jpg", "closed")
    ears.watches(3)
    assert ears.troubles == []


LISTENING = """
import os, sys, time
from watcher.hints import Hints
from watcher.names import Names
root = sys.argv[1]
heard, troubles = set(), []
hints = Hints(lambda: None)

def listen(condition, seconds=8):
    turns = 100 * seconds  # and no clock, which would go on while this process is stopped
    while not condition():
        turns -= 1
        assert turns, (sorted(heard)[:9], troubles)
        new, trouble = hints.drain()
        heard.update((hint.path, hint.kind) for hint in new)
        troubles.extend(trouble)
        time.sleep(0.01)

def hears(path, kind="closed"): listen(lambda: (path, kind) in heard)
def reports(kind): listen(lambda: any(trouble.kind == kind for trouble in troubles))
def write(path): open(os.path.join(root, path), "w").close()
def arm(): return hints.arm("in", root, Names((), ("jpg",)))
"""


def run_listening(root: Path, program: str, *before: str) -> None:
    code = LISTENING + textwrap.dedent(program)
    done = subprocess.run(
        [*before, sys.executable, "-W", "error", "-c", code, str(root)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def with_watch_limit(limit: int) -> tuple[str, ...]:
    """A command prefix that runs a program with so many watches: in a user namespace, whose limit is its own."""
    unshare = (need("unshare"), "--user", "--map-root-user")
    if subprocess.run([*unshare, "true"], check=False, capture_output=True).returncode:
        missing("may not make a user namespace")
    return (*unshare, "sh", "-c", f'echo {limit} > /proc/sys/user/max_inotify_watches && exec "$@"', "sh")


def test_out_of_watches_the_rest_is_reported_and_what_is_watched_goes_on(tmp_path: Path) -> None:
    for number in range(10):
        (tmp_path / f"{number}/deep").mkdir(parents=True)
    run_listening(
        tmp_path,
        """
        assert arm() == 5
        reports("no_watches")
        assert (troubles[0].detail.split("/")[0] in "0123456789", troubles[0].count) == (True, 16), troubles
        write("a.jpg")
        hears("a.jpg")
        troubles.clear()
        os.makedirs(root + "/new/deep")  # with watchdog alone, this ended its thread
        write("new/deep/a.jpg")
        hears("new", "directory")
        reports("no_watches")
        write("b.jpg")
        hears("b.jpg")
        assert not [trouble for trouble in troubles if trouble.kind != "no_watches"], troubles
        """,
        *with_watch_limit(5),
    )


def test_a_root_without_a_watch_is_an_error(tmp_path: Path) -> None:
    run_listening(
        tmp_path,
        f"""
        try:
            arm()
        except OSError as error:
            assert error.errno == {errno.ENOSPC}, error
        else:
            raise AssertionError
        """,
        *with_watch_limit(0),
    )


def test_an_overflow_is_reported_and_what_appeared_meanwhile_is_watched(tmp_path: Path) -> None:
    inbox = tmp_path / "inbox"
    (inbox / "gone").mkdir(parents=True)
    (inbox / "swapped").mkdir()
    program = """
        arm()
        print("armed", flush=True)
        reports("overflow")
        listen(lambda: hints.watches("in") == 3)  # the root, "late" and the new "swapped"
        write("late/after.jpg")
        hears("late/after.jpg")
        write("swapped/after.jpg")
        hears("swapped/after.jpg")
        os.remove(root + "/swapped/after.jpg")
        os.rmdir(root + "/swapped")
        listen(lambda: hints.watches("in") == 2)
        write("late/last.jpg")
        hears("late/last.jpg")
        assert [trouble.kind for trouble in troubles] == ["overflow"], troubles
        """
    with subprocess.Popen(
        [sys.executable, "-c", LISTENING + textwrap.dedent(program), str(inbox)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
    ) as child:
        assert child.stdout
        assert child.stdout.readline() == b"armed\n"
        os.kill(child.pid, signal.SIGSTOP)
        for number in range(int(Path("/proc/sys/fs/inotify/max_queued_events").read_text()) // 2 + 1000):
            os.close(os.open(inbox / f"{number}.jpg", os.O_CREAT | os.O_WRONLY))
        (inbox / "late").mkdir()
        (inbox / "gone").rmdir()
        (inbox / "swapped").rename(tmp_path / "out")
        (inbox / "swapped").mkdir()
        os.kill(child.pid, signal.SIGCONT)
    assert child.returncode == 0


@pytest.mark.root
def test_an_unmounted_root_is_lost(tmp_path: Path) -> None:
    run_listening(
        tmp_path,
        """
        import subprocess
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", root], check=True)
        arm()
        subprocess.run(["umount", root], check=True)
        reports("root_lost")
        assert arm() == 1
        """,
        *(need("unshare"), "--mount"),
    )


def test_an_unreadable_directory_is_reported_and_watched_as_soon_as_it_may_be() -> None:
    program = """
        import subprocess
        become_nobody()
        root = os.path.join(root, "inbox")
        os.makedirs(root + "/locked/deep")
        os.chmod(root + "/locked", 0)
        assert arm() == 1
        reports("unwatched")
        assert troubles[0].detail == "locked: Permission denied", troubles
        os.chmod(root + "/locked", 0o755)
        hears("locked", "directory")
        assert hints.watches("in") == 3
        write("locked/deep/a.jpg")
        hears("locked/deep/a.jpg")
        os.chmod(root, 0)
        try:
            arm()
        except PermissionError:
            pass
        else:
            raise AssertionError
        os.chmod(root, 0o755)
        """
    with reachable_directory() as outside:
        outside.chmod(0o777)
        run_as_nobody(LISTENING + textwrap.dedent(program), outside)
