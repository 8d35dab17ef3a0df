import contextlib
import os
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from waiting import wait_until
from watcher.mounts import Offline, Online
from watcher.names import Names
from watcher.sighting import Sighting
from watcher.tree import LocalTree, RemoteTree, Tree
from watcher.tree_messages import BeginWalk, CheckRoot, Failed, Look, Looked, Pull, Pulled, Reply, Request
from watcher.walk import see

NAMES = Names(("raw/*",), ("jpg",))


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    path = tmp_path / os.fsdecode(b"inb\xf6x")
    path.mkdir()
    (path / "a.jpg").write_bytes(b"photo")
    return path


@pytest.fixture
def remote(inbox: Path) -> Iterator[RemoteTree]:
    tree = RemoteTree(str(inbox), NAMES, deadline_seconds=10)
    yield tree
    tree.close()


@pytest.fixture(params=["local", "remote"])
def tree(request: pytest.FixtureRequest, inbox: Path) -> Iterator[Tree]:
    tree: Tree = LocalTree(str(inbox), NAMES) if request.param == "local" else RemoteTree(str(inbox), NAMES)
    yield tree
    tree.close()


def reply_of(tree: Tree) -> Reply:
    """Wait for the answer as the daemon does: on the descriptor, if there is one."""

    def answer() -> list[Reply]:
        reply = tree.answer()
        descriptor = tree.fileno()
        if reply is None and descriptor is not None:
            select.select([descriptor], [], [], 0.05)
        return [reply] if reply else []

    return wait_until(answer, "an answer", every=0)[0]


def asked(tree: Tree, request: Request) -> Reply:
    wait_until(lambda: not tree.busy or tree.answer(), "a tree that can be asked")
    tree.ask(request)
    assert tree.busy
    return reply_of(tree)


def test_a_look_answers_in_the_order_asked(tree: Tree, inbox: Path) -> None:
    os.mkfifo(inbox / "fifo.jpg")
    reply = asked(tree, Look(("gone.jpg", "a.jpg", "fifo.jpg")))
    assert isinstance(reply, Looked)
    assert [(seen.path, seen.sighting, seen.writer) for seen in reply.seen] == [
        ("gone.jpg", "gone", None),
        ("a.jpg", see(str(inbox), "a.jpg"), None),
        ("fifo.jpg", "not_regular", None),
    ]
    assert not tree.busy
    assert tree.answer() is None


def test_a_look_asks_for_writers_where_that_is_wanted(tree: Tree, inbox: Path) -> None:
    with (inbox / "b.jpg").open("wb"):
        reply = asked(tree, Look(("a.jpg", "b.jpg"), test_writers=True))
    assert isinstance(reply, Looked)
    assert [seen.writer for seen in reply.seen] == ["none", "open"]


def test_names_that_are_not_utf_8_survive_the_way_to_another_process(tree: Tree, inbox: Path) -> None:
    name = os.fsdecode(b"caf\xe9\n.jpg")
    (inbox / name).touch()
    reply = asked(tree, Look((name,)))
    assert isinstance(reply, Looked)
    assert reply.seen[0].sighting == see(str(inbox), name)
    assert isinstance(reply.seen[0].sighting, Sighting)


def test_several_walks_go_forward_side_by_side_under_the_inboxs_own_rules(tree: Tree, inbox: Path) -> None:
    for path in ("b/1.jpg", "b/2.jpg", "raw/3.jpg", "4.png"):
        (inbox / path).parent.mkdir(exist_ok=True)
        (inbox / path).touch()
    asked(tree, BeginWalk("scan"))
    first = asked(tree, Pull("scan", 1, 5))
    begun = asked(tree, BeginWalk("fresh", "b"))
    fresh = asked(tree, Pull("fresh", 10, 5))
    rest = asked(tree, Pull("scan", 10, 5))
    assert isinstance(begun, Pulled)
    assert isinstance(first, Pulled)
    assert isinstance(fresh, Pulled)
    assert isinstance(rest, Pulled)
    assert {sighting.path for sighting in (*first.sightings, *rest.sightings)} == {"a.jpg", "b/1.jpg", "b/2.jpg"}
    assert {sighting.path for sighting in fresh.sightings} == {"b/1.jpg", "b/2.jpg"}
    assert not first.progress.finished
    assert fresh.progress.finished
    assert rest.progress.finished
    assert rest.progress.ignored == {"ignored": 1, "suffix": 1}
    assert isinstance(asked(tree, Pull("scan", 10, 5)), Failed)


def test_a_root_that_cannot_be_walked_is_a_failure_and_offline(tree: Tree, inbox: Path) -> None:
    online = asked(tree, CheckRoot(None, require_mount=False))
    assert isinstance(online, Online)
    assert asked(tree, CheckRoot(online.identity, require_mount=False)) == online
    inbox.rename(inbox.parent / "elsewhere")
    assert isinstance(asked(tree, BeginWalk("scan")), Failed)
    assert isinstance(asked(tree, CheckRoot(online.identity, require_mount=False)), Offline)


def test_only_one_question_at_a_time(tree: Tree) -> None:
    tree.ask(Look(("a.jpg",)))
    with pytest.raises(RuntimeError):
        tree.ask(Look(("a.jpg",)))
    reply_of(tree)


def test_questions_and_answers_larger_than_a_pipe_go_through(remote: RemoteTree) -> None:
    paths = tuple(f"{'d' * 200}/{number}.jpg" for number in range(5000))  # a megabyte
    reply = asked(remote, Look(paths))
    assert isinstance(reply, Looked)
    assert tuple(seen.path for seen in reply.seen) == paths


def exists(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def children_of(inbox: Path) -> list[int]:
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            if os.fsencode(inbox) in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
    return found


def is_hung(tree: Tree) -> bool:
    return tree.hung


stopped: list[int] = []


@pytest.fixture(autouse=True)
def _nothing_is_left_stopped() -> Iterator[None]:
    yield
    for pid in stopped:
        with contextlib.suppress(OSError):
            if (
                b"watcher.looker" in Path(f"/proc/{pid}/cmdline").read_bytes()
            ):  # and not another that has its number now
                os.kill(pid, signal.SIGKILL)
    stopped.clear()


def stop(tree: RemoteTree) -> int:
    """Make the child hang, as a dead file server would."""
    assert isinstance(asked(tree, Look(("a.jpg",))), Looked)
    assert tree.pid
    os.kill(tree.pid, signal.SIGSTOP)
    stopped.append(tree.pid)
    return tree.pid


def test_a_tree_that_hangs_says_so_at_its_deadline_and_recovers(inbox: Path) -> None:
    tree = RemoteTree(str(inbox), NAMES, deadline_seconds=2)
    pid = stop(tree)
    tree._deadline_seconds = 0.3
    began = time.monotonic()
    tree.ask(Look(("a.jpg",)))
    assert time.monotonic() - began < 0.2
    reply = reply_of(tree)
    assert 0.3 <= time.monotonic() - began < 1.5
    assert isinstance(reply, Failed)
    assert reply.hung
    assert is_hung(tree)
    wait_until(lambda: tree.answer() or not exists(pid), "the hanging child is gone")
    tree._deadline_seconds = 10
    assert isinstance(asked(tree, Look(("a.jpg",))), Looked)
    assert not is_hung(tree)
    assert tree.pid != pid
    tree.close()


def test_a_pull_has_its_own_seconds_on_top_of_the_deadline(inbox: Path) -> None:
    tree = RemoteTree(str(inbox), NAMES, deadline_seconds=5)
    asked(tree, BeginWalk("scan"))
    stop(tree)
    tree._deadline_seconds = 0.1
    began = time.monotonic()
    assert asked(tree, Pull("scan", 1, 0.5)) == Failed(f"{inbox} does not answer within 0.1 s", hung=True)
    assert time.monotonic() - began >= 0.6
    tree.close()


def test_a_child_that_dies_is_a_failure_then_started_again_after_a_back_off(remote: RemoteTree) -> None:
    pid = stop(remote)
    remote.ask(Look(("a.jpg",)))
    os.kill(pid, signal.SIGKILL)
    reply = reply_of(remote)
    assert isinstance(reply, Failed)
    assert not reply.hung
    assert not is_hung(remote)
    assert remote.busy  # for a second
    began = time.monotonic()
    assert isinstance(asked(remote, Look(("a.jpg",))), Looked)
    assert 0.5 < time.monotonic() - began < 5


def test_a_child_that_died_between_two_questions_is_noticed_at_the_next(remote: RemoteTree) -> None:
    os.kill(stop(remote), signal.SIGKILL)
    assert isinstance(asked(remote, Look(("a.jpg",))), Failed)
    assert isinstance(asked(remote, Look(("a.jpg",))), Looked)


class Unkillable(RemoteTree):
    """A call into a hung mount leaves its process in state D, which SIGKILL does not end; nothing else looks like it."""

    def _kill(self, child: "subprocess.Popen[bytes]") -> None:
        pass


def test_a_child_that_cannot_be_killed_stays_the_only_one_until_it_is_gone(inbox: Path) -> None:
    tree = Unkillable(str(inbox), NAMES, deadline_seconds=5)
    pid = stop(tree)
    tree._deadline_seconds = 0.1
    assert asked(tree, Look(("a.jpg",))) == Failed(f"{inbox} does not answer within 0.1 s", hung=True)
    deadline = time.monotonic() + 1.5  # longer than the back-off
    while time.monotonic() < deadline:
        assert tree.answer() is None
        assert tree.busy
        time.sleep(0.05)
    assert children_of(inbox) == [pid]
    os.kill(pid, signal.SIGKILL)
    tree._deadline_seconds = 10
    assert isinstance(asked(tree, Look(("a.jpg",))), Looked)
    assert not is_hung(tree)
    assert tree.pid
    os.kill(tree.pid, signal.SIGKILL)
    tree.close()


def test_the_child_ends_with_the_process_that_asked(inbox: Path) -> None:
    tree = RemoteTree(str(inbox), NAMES)
    asked(tree, Look(("a.jpg",)))
    child = tree._child
    assert child
    assert child.stdin
    child.stdin.close()  # as the kernel does for a killed watcher
    assert child.wait(5) == 0
    child.stdin = None
    tree.close()


def test_closing_ends_the_child_even_if_it_hangs(inbox: Path) -> None:
    tree = RemoteTree(str(inbox), NAMES)
    pid = stop(tree)
    tree.close()
    assert not exists(pid)
    assert tree.fileno() is None


def test_the_child_loads_neither_watchdog_nor_anything_heavy(remote: RemoteTree) -> None:
    asked(remote, Look(("a.jpg",)))
    assert remote.pid
    assert "pydantic" not in Path(f"/proc/{remote.pid}/maps").read_text()
    resident_pages = int(Path(f"/proc/{remote.pid}/statm").read_text().split()[1])
    assert resident_pages * os.sysconf("SC_PAGE_SIZE") < 40_000_000


def test_a_module_in_the_current_directory_is_not_imported_by_the_child(
    inbox: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "json.py").write_text("import os; os._exit(3)")
    monkeypatch.chdir(tmp_path)
    tree = RemoteTree(str(inbox), NAMES)
    assert isinstance(asked(tree, Look(("a.jpg",))), Looked)
    tree.close()
