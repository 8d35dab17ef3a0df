"""Which walks over one inbox's tree are wanted, under way and done: whole scans, and looks below directories that appeared.

Pure: times come in, requests for the tree go out, its answers come in. What a reader would get wrong: a walk is pulled forward
only while there is use for more, so a scan of a large backlog may take hours; new directories do not wait for it.
"""

from watcher.rescan import Rescan
from watcher.tree_messages import BeginWalk, Pull, Pulled

PULL_FILES, PULL_SECONDS = 256, 0.02
MAX_SUBTREES = 100  # more new directories than that at once are one whole scan

WHOLE, SUBTREE = "whole", "subtree"


class Walks:
    """The walks of one inbox. `now` is monotonic seconds."""

    def __init__(self, rescan: Rescan) -> None:
        self.rescan = rescan
        self.ignored: dict[str, int] = {}
        self.unreadable: tuple[str, ...] = ()
        self._subtrees: dict[str, None] = {}
        self._is_below = False
        self._asked_at = 0.0

    @property
    def are_done(self) -> bool:
        """Whether no walk is under way or wanted."""
        return not (self.rescan.running or self.rescan.wanted or self._subtrees or self._is_below)

    @property
    def have_begun(self) -> bool:
        """Whether the first scan has begun."""
        return self.rescan.running or self.rescan.finished_at is not None

    def want_below(self, path: str) -> bool:
        """Look below a directory; False when there were too many, and all are left to a whole scan."""
        if len(self._subtrees) < MAX_SUBTREES:
            self._subtrees[path] = None
            return True
        self._subtrees.clear()
        self.rescan.want()
        return False

    def begin_anew(self, rescan: Rescan) -> None:
        """Forget all walks: the tree is another one, or is watched in another way."""
        rescan.finished_at = self.rescan.finished_at
        self.rescan = rescan
        self._subtrees.clear()
        self._is_below = False

    def next_request(self, now: float, clock: float, *, has_room: bool) -> BeginWalk | Pull | None:
        """What to ask the tree next; `clock` is the time as it goes by within a pass, for what a pull costs."""
        self._asked_at = clock
        if self._subtrees and not self._is_below:
            self._is_below = True
            path = next(iter(self._subtrees))
            del self._subtrees[path]
            return BeginWalk(SUBTREE, path)
        if self.rescan.is_due(now):
            self.rescan.start(now)
            return BeginWalk(WHOLE)
        walk = SUBTREE if self._is_below else WHOLE if self.rescan.running else None
        return Pull(walk, PULL_FILES, PULL_SECONDS) if walk and has_room else None

    def next_at(self, now: float, *, has_room: bool) -> float | None:
        """When `next_request` has something to ask again, if nothing else happens; None while it waits for room."""
        if self._subtrees and not self._is_below:
            return now
        if self._is_below or self.rescan.running:
            return now if has_room else None
        return self.rescan.due_at

    def pulled(self, pulled: Pulled, now: float, clock: float) -> None:
        """Note how far a walk has come."""
        if pulled.walk == SUBTREE:
            self._is_below = not pulled.progress.finished
            return
        self.rescan.spend(clock - self._asked_at, len(pulled.sightings))
        if pulled.progress.finished:
            self.rescan.finish(now)
            self.ignored, self.unreadable = dict(pulled.progress.ignored), pulled.progress.unreadable
