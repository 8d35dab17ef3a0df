"""Whether an inbox is there, what it lies on, and by what means its changes are noticed; arms and disarms the observer.

Looks at nothing itself but mountinfo, which never hangs: what the root is like comes in as the tree's answers. What a
reader would get wrong: unmounted is not empty. An inbox that is away loses its watches and nothing else.
"""

from config.logs import get_logger
from config.settings import InboxSettings
from watcher.collector import Trouble
from watcher.hints import Hints
from watcher.mounts import Backend, Layout, RootIdentity, choose_backend, read_mounts
from watcher.names import Names

log = get_logger(__name__)

MAX_TROUBLES = 10
TROUBLE_SECONDS = 60.0  # for how long `status` shows a trouble at least


class Arming:
    """The state of one inbox's root and of its watches. Times: `now` is monotonic, `now_ns` the wall clock."""

    def __init__(self, config: InboxSettings, names: Names, hints: Hints) -> None:
        self.name = config.name
        self.root = str(config.path)
        self.identity: RootIdentity | None = None
        self.offline_why = "not looked at yet"
        self.armed_ns = 0
        self.watches = 0
        self.unwatched = ""
        self._config = config
        self._names = names
        self._hints = hints
        self._troubles: dict[str, float] = {}
        self.layout, self.backend = self._look_at_mounts()

    @property
    def is_online(self) -> bool:
        """Whether the root is there and answers."""
        return not self.offline_why

    @property
    def is_polled(self) -> bool:
        """Whether scans are how anything is noticed, in the whole tree or in a part of it."""
        return self.backend.name == "poll" or bool(self.unwatched)

    @property
    def is_remote(self) -> bool:
        """Whether any part of it lies on a network file system, so that a look may hang."""
        return bool(self.layout.network_parts)

    def came_back(self, identity: RootIdentity, now_ns: int) -> bool:
        """The root answers; True when it was away, is another one, or lost its watches: it is armed anew then."""
        if self.is_online and identity == self.identity:
            return False
        log.info(
            "inbox.replaced" if self.is_online and self.identity else "inbox.online", inbox=self.name, path=self.root
        )
        self.identity, self.offline_why = identity, ""
        self.layout, self.backend = self._look_at_mounts()
        self.arm(now_ns)
        return True

    def went_away(self, why: str) -> bool:
        """The root cannot be used; True when that is news."""
        if why == self.offline_why:
            return False
        log.warning("inbox.offline", inbox=self.name, why=why)
        self.offline_why, self.watches = why, 0
        self._hints.disarm(self.name)
        return True

    def arm(self, now_ns: int) -> None:
        """Watch anew; without inotify to be had, poll and say why. Whoever calls this scans afterwards."""
        self.unwatched, self.watches, self.armed_ns = "", 0, now_ns
        if self.backend.name != "inotify":
            return
        try:
            self.watches = self._hints.arm(self.name, self.root, self._names, self.layout.network_parts)
        except OSError as error:
            self.backend = Backend("poll", f"inotify is not to be had: {error.strerror}")
            log.warning("watch.unavailable", inbox=self.name, error=error, hint="see `thumbdrop check`")

    def note(self, trouble: Trouble, now: float) -> None:
        """Remember a trouble for `status`, and what follows from it."""
        log.warning(f"watch.{trouble.kind}", inbox=self.name, detail=trouble.detail, count=trouble.count)
        text = f"{trouble.kind}: {trouble.detail}"
        self._troubles.pop(text, None)
        self._troubles[text] = now
        while len(self._troubles) > MAX_TROUBLES:
            del self._troubles[next(iter(self._troubles))]
        if trouble.kind == "unwatched":
            self.unwatched = trouble.detail
        elif trouble.kind == "root_lost":
            self.identity = None  # whatever answers next is armed anew

    def troubles(self, now: float) -> list[str]:
        """What `status` has to show."""
        self._troubles = {text: at for text, at in self._troubles.items() if now - at < TROUBLE_SECONDS}
        lasting = [f"polled, for want of watches: {self.unwatched}"] if self.unwatched else []
        return [*(text for text in self._troubles if not text.startswith("unwatched")), *lasting]

    def disarm(self) -> None:
        """Stop watching."""
        self._hints.disarm(self.name)

    def _look_at_mounts(self) -> tuple[Layout, Backend]:
        layout = Layout(self.root, read_mounts())
        return layout, choose_backend(self._config.watch, layout.fstype)
