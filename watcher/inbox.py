"""One inbox of the watcher: asks its tree for what is wanted next, and passes the answers on.

Hints, retries and scans all end in `Looks.saw`, and only a look decides. Nothing here blocks: the tree is asked one
thing at a time and answers when it can. What a reader would get wrong: the order of `_next_request` is the policy: the
root first, then what is fresh, then new directories, then the backlog.
"""

import math
import time
from collections.abc import Callable
from typing import Any

from config.logs import get_logger
from config.settings import InboxSettings, Settings
from tasks.messages import Arrival
from watcher.arming import Arming
from watcher.collector import Hint, Trouble
from watcher.hints import Hints
from watcher.inbox_report import report
from watcher.looks import Looks
from watcher.mounts import Offline, Online
from watcher.names import Names
from watcher.patience import rescan_for, rules_for
from watcher.rescan import Rescan
from watcher.settle import Rules
from watcher.sighting import Sighting
from watcher.tree import Tree, tree_for
from watcher.tree_messages import CheckRoot, Failed, Look, Looked, Pulled, Reply, Request
from watcher.walks import PULL_FILES, PULL_SECONDS, SUBTREE, Walks

log = get_logger(__name__)

ROOT_SECONDS = 2.0  # how often the root is looked at


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
        self._walks = Walks(self._new_rescan())
        self._check_at = 0.0
        self._is_remote = self._arming.is_remote
        self._silence_seconds = settings.limits.silence_seconds
        self._tree = self._new_tree()

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
        return self._walks.have_begun

    @property
    def is_idle(self) -> bool:
        """Whether everything was looked at and nothing is ready or about to be."""
        return self._walks.are_done and self._looks.is_idle

    def want_scan(self) -> None:
        """Scan as soon as possible."""
        self._walks.rescan.want()

    def take_over(self, now: float) -> None:
        """From now on this watcher publishes: what was seen while it stood by may be long gone."""
        self._unless_scanned(self._looks.look_again(now))
        self.want_scan()

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
            self._want_below(hint.path)
        elif hint.kind == "gone":
            self._looks.gone(hint.path)
        elif self._names.why_ignored(hint.path, is_dir=False) is None:
            self._unless_scanned(self._looks.announce(hint.path, hint.kind, now))

    def ended(self, arrival: Arrival, now: float) -> None:
        """An arrival's lease has ended: look whether it still stands there."""
        self._unless_scanned(self._looks.ended(arrival, now))

    def retry(self, arrival: Arrival, now: float) -> None:
        """An arrival's wait has ended: look whether it still stands there."""
        self._unless_scanned(self._looks.retry(arrival, now))

    def wait(self, arrival: Arrival, seconds: float, why: str, now: float) -> None:
        """An arrival could not be published now: look again later."""
        self._unless_scanned(self._looks.pending.wait(arrival.path, now + seconds, why))

    def answered(self, arrival: Arrival, now: float, *, published: bool, cost_seconds: float = 0.0) -> None:
        """Note whether an arrival that was taken went out; `cost_seconds` is what asking about one in vain took."""
        if self._looks.answered(arrival, now, published=published):
            self._walks.rescan.spend(cost_seconds)

    def trouble(self, trouble: Trouble, now: float) -> None:
        """The observer lost something: look at everything, and watch anew where that helps."""
        had_shortage = bool(self._arming.shortage)
        self._arming.note(trouble, now)
        self._looks.hearing.lost()
        if trouble.kind == "root_lost":
            self._check_at = now
        elif bool(self._arming.shortage) != had_shortage:
            self._watch_as_armed()
        self.want_scan()

    def take(self, limit: int) -> list[Arrival]:
        """Up to `limit` arrivals that are ready, fresh ones before the backlog."""
        return self._looks.take(limit)

    def step(self, now: float, now_ns: int, seconds: float) -> None:
        """Ask the tree what is wanted and take its answers, for at most about `seconds` of a local tree's time."""
        self._listen(now, now_ns)
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
        if self._tree.busy:  # a local tree's answer is there already; another one wakes the loop, or has its back-off
            return math.inf if self._is_remote else now
        times = [self._check_at]
        if self.is_online:
            walk_at = self._walks.next_at(now, has_room=self._looks.has_room)
            times += [at for at in (self._looks.next_at(), walk_at, self._looks.hearing.next_at()) if at is not None]
        return min(times)

    def _ask(self, request: Request, now: float) -> None:
        try:
            self._tree.ask(request)
        except OSError as error:  # no child process to be had
            self._go_away(f"nobody can look into {self._arming.root}: {error.strerror}")
            self._check_at = now + ROOT_SECONDS

    # -- watching

    def _listen(self, now: float, now_ns: int) -> None:
        """Notice that events are missing, and watch anew when it is time for that."""
        missed = self._looks.hearing.judge(now, now_ns)
        if missed:
            self._arming.missed(len(missed), missed[0], now)
        self._arming.note_recovery(now)
        if self._arming.should_arm(now):
            self._arming.arm()
            self._watch_as_armed()

    def _watch_as_armed(self) -> None:
        """Scan from the beginning, as often as the watches ask for it."""
        self._looks.hearing.listen(self._arming.hears_since_ns)
        self._walks.begin_anew(self._new_rescan())

    # -- what to ask next

    def _next_request(self, now: float) -> Request | None:
        if now >= self._check_at:
            self._check_at = now + ROOT_SECONDS
            return CheckRoot(self._arming.identity, self._config.require_mount)
        if not self.is_online:
            return None
        due = self._looks.due(now, PULL_FILES)
        if due:
            return self._look_at(due)
        return self._walks.next_request(now, time.monotonic(), has_room=self._looks.has_room)

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
                if self._arming.came_back(identity):
                    self._begin_anew()
            case Offline(why):
                self._go_away(why)
            case Failed(why):
                self._go_away(why)
                self._check_at = 0.0
            case Looked(seen):
                for one in seen:
                    if isinstance(one.sighting, Sighting):
                        self._unless_scanned(self._looks.saw(one.sighting, one.writer, now, now_ns))
                    else:
                        self._looks.saw_none(one.path)
            case Pulled():
                self._pulled(reply, now, now_ns)

    def _pulled(self, pulled: Pulled, now: float, now_ns: int) -> None:
        is_news = pulled.walk == SUBTREE  # an event told of the directory
        for sighting in pulled.sightings:
            if is_news:
                self._looks.hearing.announced(sighting.path)
            if self._looks.is_news(sighting):
                has_room = self._looks.saw(sighting, None, now, now_ns, source="event" if is_news else "scan")
                self._unless_scanned(has_room)
        self._walks.pulled(pulled, now, time.monotonic())

    def _begin_anew(self) -> None:
        if self._arming.is_remote != self._is_remote:
            self._is_remote = self._arming.is_remote
            self._tree.close()
            self._tree = self._new_tree()
        self._watch_as_armed()

    def _go_away(self, why: str) -> None:
        if self._arming.went_away(why):
            self._looks.clear()
        self._walks.begin_anew(self._new_rescan())

    # -- small change

    def _unless_scanned(self, has_room: bool) -> None:
        """What found no room is left to a scan."""
        if not has_room:
            self.want_scan()

    def _want_below(self, directory: str) -> None:
        if not self._walks.want_below(directory):
            self._looks.hearing.lost()

    def _new_tree(self) -> Tree:
        root, silence = self._arming.root, self._silence_seconds
        return tree_for(root, self._names, remote=self._is_remote, deadline_seconds=silence)

    def _new_rescan(self) -> Rescan:
        is_short = bool(self._arming.shortage)
        return rescan_for(self._rescan_seconds, is_polled=self._arming.is_polled, is_short_of_watches=is_short)

    def _rules(self, path: str) -> Rules:
        is_network = self._arming.layout.is_network(path)
        return rules_for(self._config.settle_seconds, self._empty_grace, is_network=is_network)

    def report(self, now: float, clock: float) -> dict[str, Any]:
        """What this inbox does, as JSON primitives; `clock` is the wall clock in seconds."""
        return report(self._arming, self._walks, self._looks, now, clock)
