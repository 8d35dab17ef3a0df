"""Whether an inbox is there, what it lies on, and by what means its changes are noticed; arms and disarms the observer.

Looks at nothing itself but mountinfo and sysctls, which never hang: what the root is like comes in as the tree's answers.
What a reader would get wrong: unmounted is not empty. An inbox that is away loses its watches and nothing else.
"""

import math
import time

from config.logs import get_logger
from config.mounts import read_mounts
from config.settings import InboxSettings
from watcher.collector import Trouble
from watcher.hints import Hints
from watcher.mounts import Backend, Layout, RootIdentity, choose_backend
from watcher.names import Names
from watcher.shortage import Shortage

log = get_logger(__name__)

MAX_TROUBLES = 10
TROUBLE_SECONDS = 60.0  # for how long `status` shows a trouble at least
REARM_SECONDS = 60.0  # between two times that the watches are made anew because events were missed
DEAD_SECONDS = 5.0  # likewise because a thread died


class Arming:
    """The state of one inbox's root and of its watches. Times: `now` is monotonic, `now_ns` the wall clock."""

    def __init__(self, config: InboxSettings, names: Names, hints: Hints) -> None:
        self.name = config.name
        self.root = str(config.path)
        self.identity: RootIdentity | None = None
        self.offline_why = "not looked at yet"
        self.armed_ns = 0
        self.watches = 0
        self.shortage = Shortage(config.name)
        self._config = config
        self._names = names
        self._hints = hints
        self._troubles: dict[str, float] = {}
        self._armed_at = 0.0
        self._missed_at = self._died_at = -math.inf  # when watches were last made anew for that
        self._arm_at: float | None = None
        self.layout, self.backend = self._look_at_mounts()

    @property
    def is_online(self) -> bool:
        """Whether the root is there and answers."""
        return not self.offline_why

    @property
    def is_polled(self) -> bool:
        """Whether scans are how anything is noticed, in the whole tree."""
        return self.backend.name == "poll"

    @property
    def is_remote(self) -> bool:
        """Whether any part of it lies on a network file system, so that a look may hang."""
        return bool(self.layout.network_parts)

    @property
    def hears_since_ns(self) -> int | None:
        """The wall clock from which on events should tell of everything; None where some are not to be expected."""
        hears_all = self.watches and not self.shortage and not self.is_remote
        return self.armed_ns if hears_all else None

    def came_back(self, identity: RootIdentity) -> bool:
        """The root answers; True when it was away, is another one, or lost its watches: it is armed anew then."""
        if self.is_online and identity == self.identity:
            return False
        event = "inbox.replaced" if self.is_online and self.identity else "inbox.online"
        log.info(event, inbox=self.name, path=self.root)
        self.identity, self.offline_why = identity, ""
        self.arm()
        return True

    def went_away(self, why: str) -> bool:
        """The root cannot be used; True when that is news."""
        if why == self.offline_why:
            return False
        log.warning("inbox.offline", inbox=self.name, why=why)
        self.offline_why, self.watches, self._arm_at = why, 0, None
        self._hints.disarm(self.name)
        return True

    def arm(self) -> None:
        """Watch anew; without inotify to be had, poll and say why. Whoever calls this scans afterwards."""
        self.layout, self.backend = self._look_at_mounts()
        self.watches, self._arm_at = 0, None
        self.shortage.begin()
        if not self.is_polled:
            try:
                self.watches = self._hints.arm(self.name, self.root, self._names, self.layout.network_parts)
            except OSError as error:
                self._poll_because(error)
        # Read last: what changed while the watches were added need not have been heard.
        self._armed_at, self.armed_ns = time.monotonic(), time.time_ns()

    def note(self, trouble: Trouble, now: float) -> None:
        """Remember a trouble for `status`, and what follows from it."""
        if trouble.kind == "no_watches":
            self.shortage.add(trouble.detail, trouble.count, self._hints.watches(self.name), now)
            return
        log.warning(f"watch.{trouble.kind}", inbox=self.name, detail=trouble.detail, count=trouble.count)
        self._remember(f"{trouble.kind}: {trouble.detail}", now)
        if trouble.kind == "root_lost":
            self.identity = None  # whatever answers next is armed anew
        elif trouble.kind == "dead":
            self.watches = 0
            self._arm_at = self._died_at = max(now, self._died_at + DEAD_SECONDS)

    def missed(self, count: int, example: str, now: float) -> None:
        """Nobody told of what a scan has found: say so, and watch anew, but not more often than is of use."""
        log.warning("event.missed", inbox=self.name, files=count, path=example)
        self._remember(f"missed: no event told of {example}", now)
        if self._arm_at is None:
            self._arm_at = self._missed_at = max(now, self._missed_at + REARM_SECONDS)

    def should_arm(self, now: float) -> bool:
        """Whether to watch anew now: because events were missed, or because there may be enough watches by now."""
        if not self.is_online or self._config.watch == "poll":
            return False
        return self.shortage.may_be_over(now) if self._arm_at is None else now >= self._arm_at

    def note_recovery(self, now: float) -> None:
        """Say that there are watches for all again. Not at once: what is short is told by another thread."""
        if now > self._armed_at + 1.0 and self.shortage.is_over():
            log.info("watch.recovered", inbox=self.name, watches=self.watches)

    def troubles(self, now: float) -> list[str]:
        """What `status` has to show."""
        self._troubles = {text: at for text, at in self._troubles.items() if now - at < TROUBLE_SECONDS}
        return [*self._troubles, *self.shortage.words()]

    def disarm(self) -> None:
        """Stop watching."""
        self._hints.disarm(self.name)

    def _poll_because(self, error: OSError) -> None:
        self.backend = Backend("poll", f"inotify is not to be had: {error.strerror}")
        self.shortage.refused(error.errno or 0, time.monotonic())

    def _remember(self, text: str, now: float) -> None:
        self._troubles.pop(text, None)
        self._troubles[text] = now
        while len(self._troubles) > MAX_TROUBLES:
            del self._troubles[next(iter(self._troubles))]

    def _look_at_mounts(self) -> tuple[Layout, Backend]:
        layout = Layout(self.root, read_mounts())
        return layout, choose_backend(self._config.watch, layout.fstype)
