"""One inbox of the watcher: asks its tree for what is wanted next, and passes the answers on.

Hints, retries and scans all end in `Looks.saw`, and only a look decides. Nothing here blocks: the tree is asked one
thing at a time and answers when it can. What a reader would get wrong: the order of `_next_request` is the policy: the
root first, then what is fresh, then new directories, then the backlog.
"""

import time
from collections.abc import Callable
from typing import Any

from config.logs import get_logger
from config.settings import InboxSettings, Settings
from tasks.messages import Arrival
from watcher.arming import Arming
from watcher.collector import Hint, Trouble
from watcher.hints import Hints
from watcher.looks import Looks
from watcher.mounts import Offline, Online
from watcher.names import Names
from watcher.rescan import INOTIFY_SHARE, POLL_SECONDS, POLL_SHARE, Rescan
from watcher.settle import Rules
from watcher.sighting import Sighting
from watcher.tree import Tree, tree_for
from watcher.tree_messages import BeginWalk, CheckRoot, Failed, Look, Looked, Pull, Pulled, Reply, Request

log = get_logger(__name__)

LOCAL_SETTLE_SECONDS = 2.0  # SFTP clients chmod and utime by path after the close, and would fail on a moved file
NETWORK_SETTLE_SECONDS = 30.0  # attribute caches answer for 3 s (NFS) to 20 s (sshfs)
ROOT_SECONDS = 2.0  # how often the root is looked at
UNWATCHED_SECONDS = 5.0  # how often a tree is scanned of which parts could not be watched
PULL_FILES, PULL_SECONDS = 256, 0.02
MAX_SUBTREES = 100  # more new directories than that at once are one whole scan

_WHOLE, _SUBTREE = "whole", "subtree"


class Inbox:
    """The state of one inbox; `step` does what can be done now. Times: `now` is monotonic, `now_ns` the wall clock.

    `forget` is called with an arrival whose retry record has become void.
    """

    def __init__(
        self, config: InboxSettings, settings: Settings, hints: Hints, forget: Callable[[Arrival], None]
    ) -> None:
        self.name = config.name
        self._config = config
        self._rescan_seconds = settings.watcher.rescan_seconds
        self._empty_grace = settings.limits.empty_grace_seconds
        self._names = Names(config.ignore, config.suffixes)
        self._arming = Arming(config, self._names, hints)
        self._looks = Looks(config.name, self._rules, forget)
        self._rescan = self._new_rescan()
        self._subtrees: dict[str, None] = {}
        self._subtree_running = False
        self._ignored: dict[str, int] = {}
        self._unreadable: tuple[str, ...] = ()
        self._check_at = 0.0
        self._asked_at = 0.0
        self._is_remote = self._arming.is_remote
        self._tree: Tree = tree_for(self._arming.root, self._names, remote=self._is_remote)

    # -- for the daemon

    @property
    def is_online(self) -> bool:
        """Whether the root is there and answers."""
        return self._arming.is_online

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
        return not walking and self._looks.is_idle

    def want_scan(self) -> None:
        """Scan as soon as possible."""
        self._rescan.want()

    def fileno(self) -> int | None:
        """What becomes readable when the tree answers; None when it answers at once."""
        return self._tree.fileno()

    def close(self) -> None:
        """End all looking."""
        self._arming.disarm()
        self._tree.close()

    def hinted(self, hint: Hint, now: float) -> None:
        """An event says to look somewhere."""
        if hint.kind == "directory":
            self._want_subtree(hint.path)
        elif hint.kind != "gone" and self._names.why_ignored(hint.path, is_dir=False) is None:
            self._unless_scanned(self._looks.announce(hint.path, hint.kind, now))

    def look(self, path: str, now: float) -> None:
        """Look at a path as soon as possible: its lease has ended."""
        self._unless_scanned(self._looks.pending.hint(path, None, now))

    def retry(self, arrival: Arrival, now: float) -> None:
        """An arrival's wait has ended: look whether it still stands there."""
        self._unless_scanned(self._looks.retry(arrival, now))

    def wait(self, arrival: Arrival, seconds: float, why: str, now: float) -> None:
        """An arrival could not be published now: look again later."""
        self._unless_scanned(self._looks.pending.wait(arrival.path, now + seconds, why))

    def answered(self, arrival: Arrival, *, published: bool) -> None:
        """Note whether an arrival that was taken went out."""
        armed_ns = self._arming.armed_ns if self._arming.watches else None
        if self._looks.answered(arrival, published=published, armed_ns=armed_ns):
            log.warning("event.missed", inbox=self.name, path=arrival.path, missed=self._looks.missed_events)

    def trouble(self, trouble: Trouble, now: float, now_ns: int) -> None:
        """The observer lost something: look at everything, and watch anew where that helps."""
        self._arming.note(trouble, now)
        if trouble.kind == "root_lost":
            self._check_at = now
        elif trouble.kind == "dead" and self.is_online:
            self._arming.arm(now_ns)
            self._rescan = self._new_rescan()
        elif trouble.kind == "unwatched" and self._rescan.share != POLL_SHARE:
            self._rescan = self._new_rescan()
        self._rescan.want()

    def take(self, limit: int) -> list[Arrival]:
        """Up to `limit` arrivals that are ready, fresh ones before the backlog."""
        return self._looks.take(limit)

    def step(self, now: float, now_ns: int, seconds: float) -> None:
        """Ask the tree what is wanted and take its answers, for at most about `seconds` of a local tree's time."""
        for _ in range(max(1, round(seconds / PULL_SECONDS))):
            reply = self._tree.answer()
            if reply is not None:
                self._answer(reply, now, now_ns)
            request = None if self._tree.busy else self._next_request(now)
            if request is None:
                return
            self._ask(request, now)

    def next_at(self, now: float) -> float:
        """When there is something to do again, if nothing else happens (monotonic)."""
        if self._tree.fileno() is None and self._tree.busy:
            return now
        times = [self._check_at, self._looks.pending.next_at(), None if self._rescan.running else self._rescan.next_at]
        return min(at for at in times if at is not None)

    def _ask(self, request: Request, now: float) -> None:
        self._asked_at = time.monotonic()
        try:
            self._tree.ask(request)
        except OSError as error:  # no child process to be had
            self._go_away(f"nobody can look into {self._arming.root}: {error.strerror}")
            self._check_at = now + ROOT_SECONDS

    # -- what to ask next

    def _next_request(self, now: float) -> Request | None:
        if now >= self._check_at:
            self._check_at = now + ROOT_SECONDS
            return CheckRoot(self._arming.identity, self._config.require_mount)
        if not self.is_online:
            return None
        due = self._looks.due(now, PULL_FILES)
        return self._look_at(due) if due else self._next_walk(now)

    def _next_walk(self, now: float) -> Request | None:
        if self._subtrees and not self._subtree_running:
            self._subtree_running = True
            return BeginWalk(_SUBTREE, self._subtrees.popitem()[0])
        if self._rescan.is_due(now):
            self._rescan.start(now)
            return BeginWalk(_WHOLE)
        walk = _SUBTREE if self._subtree_running else _WHOLE if self._rescan.running else None
        return Pull(walk, PULL_FILES, PULL_SECONDS) if walk and self._looks.has_room else None

    def _look_at(self, due: list[str]) -> Look:
        """A look at local or at network files, never both: asking for writers means opening the file."""
        network = [path for path in due if self._arming.layout.is_network(path)]
        if not network or len(network) == len(due):
            return Look(tuple(due), test_writers=not network)
        for path in network:  # the next look takes them
            self._looks.pending.put_back(path)
        return Look(tuple(path for path in due if path not in network), test_writers=True)

    # -- what was answered

    def _answer(self, reply: Reply, now: float, now_ns: int) -> None:
        match reply:
            case Online(identity):
                if self._arming.came_back(identity, now_ns):
                    self._begin_anew()
            case Offline(why):
                self._go_away(why)
            case Failed(why):
                self._go_away(why)
                self._check_at = 0.0
            case Looked(seen):
                for one in seen:
                    if isinstance(one.sighting, Sighting):
                        self._looks.saw(one.sighting, one.writer, now, now_ns)
                    else:
                        self._looks.saw_none(one.path, one.sighting)
            case Pulled():
                self._pulled(reply, now, now_ns)

    def _pulled(self, pulled: Pulled, now: float, now_ns: int) -> None:
        for sighting in pulled.sightings:
            if pulled.walk == _SUBTREE:
                self._looks.note_announced(sighting.path)
            if sighting.path not in self._looks.pending:
                self._looks.saw(sighting, None, now, now_ns)
        if pulled.walk == _SUBTREE:
            self._subtree_running = not pulled.progress.finished
            return
        self._rescan.spend(time.monotonic() - self._asked_at, len(pulled.sightings))
        if pulled.progress.finished:
            self._rescan.finish(now)
            self._ignored, self._unreadable = dict(pulled.progress.ignored), pulled.progress.unreadable

    def _begin_anew(self) -> None:
        if self._arming.is_remote != self._is_remote:
            self._is_remote = self._arming.is_remote
            self._tree.close()
            self._tree = tree_for(self._arming.root, self._names, remote=self._is_remote)
        self._forget_walks()

    def _go_away(self, why: str) -> None:
        if self._arming.went_away(why):
            self._looks.clear()
        self._forget_walks()

    def _forget_walks(self) -> None:
        self._subtrees.clear()
        self._subtree_running = False
        self._rescan = self._new_rescan()

    # -- small change

    def _unless_scanned(self, has_room: bool) -> None:
        """What found no room is left to a scan."""
        if not has_room:
            self._rescan.want()

    def _want_subtree(self, path: str) -> None:
        if len(self._subtrees) >= MAX_SUBTREES:
            self._subtrees.clear()
            self._rescan.want()
        else:
            self._subtrees[path] = None

    def _new_rescan(self) -> Rescan:
        if self._arming.backend.name == "poll":
            return Rescan(POLL_SECONDS, POLL_SHARE)
        if self._arming.unwatched:
            return Rescan(min(self._rescan_seconds, UNWATCHED_SECONDS), POLL_SHARE)
        return Rescan(self._rescan_seconds, INOTIFY_SHARE)

    def _rules(self, path: str) -> Rules:
        network = self._arming.layout.is_network(path)
        settle = self._config.settle_seconds
        if settle is None:
            settle = NETWORK_SETTLE_SECONDS if network else LOCAL_SETTLE_SECONDS
        return Rules(settle, self._empty_grace, network)

    def report(self, now: float, clock: float) -> dict[str, Any]:
        """What this inbox does, as JSON primitives; `clock` is the wall clock in seconds."""
        finished = self._rescan.finished_at
        return {
            "online": self.is_online,
            "offline_why": self._arming.offline_why,
            "backend": self._arming.backend.name,
            "why": self._arming.backend.why,
            "watches": self._arming.watches,
            "scan": {
                "running": self._rescan.running,
                "finished_at": None if finished is None else clock - (now - finished),
                "seconds": self._rescan.spent_seconds,
                "files": self._rescan.files,
            },
            "waiting": self._looks.pending.counts() | {"ready": self._looks.ready},
            "ignored": self._ignored,
            "unreadable": list(self._unreadable),
            "missed_events": self._looks.missed_events,
            "troubles": self._arming.troubles(now),
        }
