"""One inbox of the watcher: what has to be looked at in it, what was seen, and which arrivals are ready to be published.

Hints, retries and scans all end in the same few lines (`_saw`), and only a look decides. Nothing here blocks: the tree
is asked one thing at a time and answers when it can. What a reader would get wrong: nothing that is remembered here is
needed. All of it may be forgotten, and the next scan finds what is still to do.
"""

import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from config.logs import get_logger
from config.settings import InboxSettings, Settings
from tasks.messages import Arrival
from watcher.collector import Hint, Trouble
from watcher.hints import Hints
from watcher.mounts import Backend, Layout, Offline, Online, RootIdentity, choose_backend, read_mounts
from watcher.names import Names
from watcher.pending import Pending
from watcher.rescan import INOTIFY_SHARE, POLL_SECONDS, POLL_SHARE, Rescan
from watcher.settle import AskWriter, Complete, Event, Rules, WaitSeconds, judge, trace
from watcher.sighting import Sighting, Writer
from watcher.tree import Tree, tree_for
from watcher.tree_messages import BeginWalk, CheckRoot, Failed, Look, Looked, Pull, Pulled, Reply, Request

log = get_logger(__name__)

LOCAL_SETTLE_SECONDS = 2.0  # SFTP clients chmod and utime by path after the close, and would fail on a moved file
NETWORK_SETTLE_SECONDS = 30.0  # attribute caches answer for 3 s (NFS) to 20 s (sshfs)
ROOT_SECONDS = 2.0  # how often the root is looked at
UNWATCHED_SECONDS = 5.0  # how often a tree is scanned of which parts could not be watched
PULL_FILES, PULL_SECONDS = 256, 0.02
READY = 128  # files found ahead of use
MAX_FRESH = 2_000  # beyond, what events announce waits in the bounded table, and then for a scan
MAX_SUBTREES = 100  # more new directories than that at once are one whole scan
REMEMBERED_HINTS = 20_000
MAX_TROUBLES = 10
TROUBLE_SECONDS = 60.0  # a trouble is shown until a scan has finished and it is as old as this

_WHOLE, _SUBTREE = "whole", "subtree"


@dataclass(frozen=True, slots=True)
class Ready:
    """A complete file, and how it was found; `ctime_ns` tells whether an event should have announced it."""

    arrival: Arrival
    ctime_ns: int
    by_scan: bool


class Inbox:
    """The state of one inbox; `step` does what can be done now, `take` gives what is ready, freshest first.

    `forget` is called with an arrival whose retry record has become void.
    """

    def __init__(
        self, config: InboxSettings, settings: Settings, hints: Hints, forget: Callable[[Arrival], None]
    ) -> None:
        self.name = config.name
        self._config = config
        self._root = str(config.path)
        self._rescan_seconds = settings.watcher.rescan_seconds
        self._empty_grace = settings.limits.empty_grace_seconds
        self._hints = hints
        self._forget = forget
        self._names = Names(config.ignore, config.suffixes)
        self._layout = Layout(self._root, read_mounts())
        self._backend = choose_backend(config.watch, self._layout.fstype)
        self._tree: Tree = self._new_tree()
        self._identity: RootIdentity | None = None
        self._offline_why = "not looked at yet"
        self._check_at = 0.0
        self._asked_at = 0.0
        self._rescan = self._new_rescan()
        self._armed_ns = 0
        self._watches = 0
        self._unwatched = ""
        self._pending = Pending()
        self._fresh: deque[Ready] = deque()
        self._backlog: deque[Ready] = deque()
        self._due: dict[str, Arrival] = {}
        self._subtrees: OrderedDict[str, None] = OrderedDict()
        self._subtree_running = False
        self._hinted: OrderedDict[str, None] = OrderedDict()
        self._by_scan: dict[str, int] = {}
        self._ignored: dict[str, int] = {}
        self._unreadable: tuple[str, ...] = ()
        self._missed_events = 0
        self._troubles: OrderedDict[str, float] = OrderedDict()

    # -- for the daemon

    @property
    def is_online(self) -> bool:
        """Whether the root is there and answers."""
        return not self._offline_why

    @property
    def has_begun(self) -> bool:
        """Whether the watches are armed and the first scan has begun, or the inbox is known to be offline."""
        if not self.is_online:
            return self._check_at > 0.0 and not self._tree.busy
        return self._rescan.running or self._rescan.finished_at is not None

    @property
    def is_idle(self) -> bool:
        """Whether everything was looked at and nothing is ready or about to be."""
        walking = self._rescan.running or self._rescan.wanted or self._subtrees or self._subtree_running
        patient = self._pending.counts().keys() <= {"empty", "writer"}  # they may wait for hours
        return patient and not (walking or self._fresh or self._backlog)

    def want_scan(self) -> None:
        """Scan as soon as possible."""
        self._rescan.want()

    def fileno(self) -> int | None:
        """What becomes readable when the tree answers; None when it answers at once."""
        return self._tree.fileno()

    def close(self) -> None:
        """End all looking."""
        self._hints.disarm(self.name)
        self._tree.close()

    def hinted(self, hint: Hint, now: float) -> None:
        """An event says to look somewhere."""
        if hint.kind == "directory":
            self._want_subtree(hint.path)
        elif hint.kind != "gone" and self._names.why_ignored(hint.path, is_dir=False) is None:
            self._hinted[hint.path] = None
            self._hinted.move_to_end(hint.path)
            if len(self._hinted) > REMEMBERED_HINTS:
                self._hinted.popitem(last=False)
            self.look(hint.path, hint.kind, now)

    def look(self, path: str, event: Event | None, now: float) -> None:
        """Look at a path as soon as possible; a full table leaves it to the next scan."""
        if not self._pending.hint(path, event, now):
            self._rescan.want()

    def retry(self, arrival: Arrival, now: float) -> None:
        """An arrival's wait has ended: look whether it still stands there."""
        self._due[arrival.path] = arrival
        self.look(arrival.path, None, now)

    def wait(self, arrival: Arrival, seconds: float, why: str, now: float) -> None:
        """An arrival could not be published now: look again later."""
        self._pending.wait(arrival.path, now + seconds, why)

    def published(self, arrival: Arrival) -> None:
        """Note that an arrival went out; one that a scan found and an event should have announced was missed."""
        ctime_ns = self._by_scan.pop(arrival.id, 0)
        if self._backend.name == "inotify" and ctime_ns > self._armed_ns and arrival.path not in self._hinted:
            self._missed_events += 1
            log.warning("event.missed", inbox=self.name, path=arrival.path, missed=self._missed_events)

    def trouble(self, trouble: Trouble, now: float, now_ns: int) -> None:
        """The observer lost something: look at everything, and watch anew where that helps."""
        log.warning(f"watch.{trouble.kind}", inbox=self.name, detail=trouble.detail)
        self._troubles[f"{trouble.kind}: {trouble.detail}"] = now
        self._troubles.move_to_end(f"{trouble.kind}: {trouble.detail}")
        while len(self._troubles) > MAX_TROUBLES:
            self._troubles.popitem(last=False)
        self._rescan.want()
        if trouble.kind == "unwatched":
            self._poll_unwatched(trouble.detail)
        elif trouble.kind == "root_lost":
            self._identity, self._check_at = None, now
        elif trouble.kind in ("overflow", "dead") and self.is_online:
            self._arm(now_ns)

    def take(self, limit: int) -> list[Arrival]:
        """Up to `limit` arrivals that are ready, fresh ones before the backlog."""
        taken: list[Arrival] = []
        while len(taken) < limit and (self._fresh or self._backlog):
            ready = (self._fresh or self._backlog).popleft()
            if ready.by_scan:
                self._by_scan[ready.arrival.id] = ready.ctime_ns
            taken.append(ready.arrival)
        return taken

    def refused(self, arrival: Arrival) -> None:
        """Note that an arrival did not go out, for whatever reason."""
        self._by_scan.pop(arrival.id, None)

    def step(self, now: float, now_ns: int, seconds: float) -> None:
        """Ask the tree what is wanted and take its answers, for at most about `seconds` of a local tree's time."""
        budget = max(1, round(seconds / PULL_SECONDS))
        for _ in range(budget):
            reply = self._tree.answer()
            if reply is not None:
                self._answered(reply, now, now_ns)
            if self._tree.busy:
                return
            request = self._next_request(now)
            if request is None:
                return
            self._asked_at = time.monotonic()
            self._tree.ask(request)

    def next_at(self, now: float) -> float:
        """When there is something to do again, if nothing else happens (monotonic)."""
        if self._tree.fileno() is None and self._tree.busy:
            return now
        times = [self._check_at, self._pending.next_at(), None if self._rescan.running else self._rescan.next_at]
        return min(at for at in times if at is not None)

    # -- what to ask next

    def _next_request(self, now: float) -> Request | None:  # noqa: PLR0911 - a list of wishes, the most urgent first
        if now >= self._check_at:
            self._check_at = now + ROOT_SECONDS
            return CheckRoot(self._identity, self._config.require_mount)
        if not self.is_online:
            return None
        due = self._pending.due(now, PULL_FILES) if len(self._fresh) < MAX_FRESH else []
        if due:
            return self._look_at(due)
        if self._subtrees and not self._subtree_running:
            self._subtree_running = True
            return BeginWalk(_SUBTREE, self._subtrees.popitem(last=False)[0])
        if self._rescan.is_due(now):
            self._rescan.start(now)
            return BeginWalk(_WHOLE)
        if len(self._fresh) + len(self._backlog) >= READY or self._pending.is_full:
            return None
        if self._subtree_running:
            return Pull(_SUBTREE, PULL_FILES, PULL_SECONDS)
        return Pull(_WHOLE, PULL_FILES, PULL_SECONDS) if self._rescan.running else None

    def _look_at(self, due: list[str]) -> Look:
        """A look at local or at network files, never both: asking for writers means opening the file."""
        network = [path for path in due if self._layout.is_network(path)]
        if not network or len(network) == len(due):
            return Look(tuple(due), test_writers=not network)
        for path in network:  # the next look takes them
            self._pending.put_back(path)
        return Look(tuple(path for path in due if path not in network), test_writers=True)

    # -- what was answered

    def _answered(self, reply: Reply, now: float, now_ns: int) -> None:
        match reply:
            case Online(identity):
                self._is_back(identity, now_ns)
            case Offline(why):
                self._is_away(why)
            case Failed(why, hung):
                self._failed(why, hung=hung)
            case Looked(seen):
                for one in seen:
                    if isinstance(one.sighting, Sighting):
                        self._saw(one.sighting, one.writer, now, now_ns)
                    else:
                        self._saw_none(one.path, one.sighting)
            case Pulled():
                self._pulled(reply, now, now_ns)

    def _saw(self, sighting: Sighting, writer: Writer | None, now: float, now_ns: int) -> None:
        """The few lines where everything ends: decide whether a file that was looked at is complete."""
        path = sighting.path
        wait = self._pending.get(path)
        known = trace(wait.trace if wait else None, sighting, wait.event if wait else None, now)
        verdict = judge(sighting, known, self._rules(path), now_ns=now_ns, monotonic=now, writer=writer)
        match verdict:
            case Complete():
                self._pending.drop(path)
                self._is_complete(sighting, by_scan=not (wait and wait.is_fresh))
            case AskWriter():
                self._pending.wait(path, now, "look", known)
            case WaitSeconds(seconds, why):
                self._pending.wait(path, now + seconds, why, known)

    def _saw_none(self, path: str, why: Literal["gone", "not_regular", "unreadable"]) -> None:
        self._pending.drop(path)
        due = self._due.pop(path, None)
        if due is not None and why != "unreadable":
            self._forget(due)

    def _is_complete(self, sighting: Sighting, *, by_scan: bool) -> None:
        arrival = Arrival(self.name, sighting.path, sighting.size_bytes, sighting.mtime_ns)
        due = self._due.pop(sighting.path, None)
        if due is not None and due != arrival:
            self._forget(due)
        ready = Ready(arrival, sighting.ctime_ns, by_scan)
        (self._backlog if by_scan else self._fresh).append(ready)

    def _rules(self, path: str) -> Rules:
        network = self._layout.is_network(path)
        settle = self._config.settle_seconds
        if settle is None:
            settle = NETWORK_SETTLE_SECONDS if network else LOCAL_SETTLE_SECONDS
        return Rules(settle, self._empty_grace, network)

    def _pulled(self, pulled: Pulled, now: float, now_ns: int) -> None:
        for sighting in pulled.sightings:
            if sighting.path not in self._pending:
                self._saw(sighting, None, now, now_ns)
        progress = pulled.progress
        if pulled.walk == _SUBTREE:
            self._subtree_running = not progress.finished
            return
        self._rescan.spend(time.monotonic() - self._asked_at, len(pulled.sightings))
        if progress.finished:
            self._rescan.finish(now)
            self._ignored, self._unreadable = dict(progress.ignored), progress.unreadable
            self._troubles = OrderedDict(
                (text, at) for text, at in self._troubles.items() if now - at < TROUBLE_SECONDS
            )

    # -- there and away

    def _is_back(self, identity: RootIdentity, now_ns: int) -> None:
        if self.is_online and identity == self._identity:
            return
        log.info("inbox.online" if not self.is_online else "inbox.replaced", inbox=self.name, path=self._root)
        self._identity, self._offline_why = identity, ""
        was_remote = bool(self._layout.network_parts)
        self._layout = Layout(self._root, read_mounts())
        self._backend = choose_backend(self._config.watch, self._layout.fstype)
        if bool(self._layout.network_parts) != was_remote:
            self._tree.close()
            self._tree = self._new_tree()
        self._arm(now_ns)

    def _arm(self, now_ns: int) -> None:
        """Watch first, then scan: what comes in between is seen twice rather than never."""
        self._hints.disarm(self.name)
        self._unwatched, self._watches, self._armed_ns = "", 0, now_ns
        self._rescan = self._new_rescan()
        if self._backend.name != "inotify":
            return
        try:
            self._watches = self._hints.arm(self.name, self._root, self._names, self._layout.network_parts)
        except OSError as error:
            self._backend = Backend("poll", f"inotify is not to be had: {error.strerror}")
            self._rescan = self._new_rescan()
            log.warning("watch.unavailable", inbox=self.name, error=error)

    def _is_away(self, why: str) -> None:
        if why == self._offline_why:
            return
        log.warning("inbox.offline", inbox=self.name, why=why)
        self._offline_why = why
        self._hints.disarm(self.name)
        self._rescan.abandon()
        self._pending.clear()
        self._fresh.clear()
        self._backlog.clear()
        self._subtrees.clear()
        self._subtree_running = False

    def _failed(self, why: str, *, hung: bool) -> None:
        if hung or "cannot be read" in why:
            self._is_away(why)
        self._rescan.abandon()
        self._subtree_running = False
        for path in list(self._due):
            self._pending.drop(path)

    def _want_subtree(self, path: str) -> None:
        if len(self._subtrees) >= MAX_SUBTREES:
            self._subtrees.clear()
            self._rescan.want()
        else:
            self._subtrees[path] = None

    def _poll_unwatched(self, detail: str) -> None:
        self._unwatched = detail
        self._rescan.interval_seconds = min(self._rescan.interval_seconds, UNWATCHED_SECONDS)
        self._rescan.share = POLL_SHARE

    def _new_rescan(self) -> Rescan:
        if self._backend.name == "poll":
            return Rescan(POLL_SECONDS, POLL_SHARE)
        return Rescan(self._rescan_seconds, INOTIFY_SHARE)

    def _new_tree(self) -> Tree:
        return tree_for(self._root, self._names, remote=bool(self._layout.network_parts))

    # -- for `thumbdrop status`

    def report(self, now: float, clock: float) -> dict[str, Any]:
        """What this inbox does, as JSON primitives; `clock` is the wall clock in seconds."""
        finished = self._rescan.finished_at
        return {
            "online": self.is_online,
            "offline_why": self._offline_why,
            "backend": self._backend.name,
            "why": self._backend.why,
            "watches": self._watches,
            "scan": {
                "running": self._rescan.running,
                "finished_at": None if finished is None else clock - (now - finished),
                "seconds": self._rescan.spent_seconds,
                "files": self._rescan.files,
            },
            "waiting": self._pending.counts() | {"ready": len(self._fresh) + len(self._backlog)},
            "ignored": self._ignored,
            "unreadable": list(self._unreadable),
            "missed_events": self._missed_events,
            "troubles": [*self._troubles, *([f"not watched: {self._unwatched}"] if self._unwatched else [])],
        }
