"""Whether an inbox hears what happens in it: finds out that events are missing without a word from anybody.

Pure: paths, ctimes and clocks come in. A file that only a scan found, and that changed after the watches were armed, should
have been announced by an event. What a reader would get wrong: nobody is judged by what was lost knowingly, such as an overflow;
so `lost` moves the time from which on everything must have been heard.
"""

from collections import OrderedDict, deque

REMEMBERED = 20_000
MAX_SUSPECTS = 1_000
GRACE_SECONDS = 2.0  # a scan may be quicker than the event, which passes through three threads


class Hearing:
    """The ears of one inbox. `now` is monotonic seconds, `now_ns` the wall clock, as ctimes are."""

    def __init__(self) -> None:
        self.missed = 0
        self._since_ns: int | None = None
        self._has_lost = False
        self._announced: OrderedDict[str, None] = OrderedDict()
        self._suspects: deque[tuple[float, int, str]] = deque()

    def listen(self, since_ns: int | None) -> None:
        """From that wall clock on everything should be heard; None: nothing is expected to be."""
        self._since_ns, self._has_lost = since_ns, False
        self._suspects.clear()

    def lost(self) -> None:
        """Events are known to be lost, up to the next `judge`."""
        self._has_lost = True

    def announced(self, path: str) -> None:
        """An event told of a path, or of a directory above it that had just appeared."""
        self._announced[path] = None
        self._announced.move_to_end(path)
        if len(self._announced) > REMEMBERED:
            self._announced.popitem(last=False)
            self._has_lost = True  # as good as: nobody knows any more what was announced until now

    def found(self, path: str, ctime_ns: int, now: float) -> None:
        """A scan found an arrival that was published then."""
        if self._since_ns is not None and ctime_ns > self._since_ns and len(self._suspects) < MAX_SUSPECTS:
            self._suspects.append((now + GRACE_SECONDS, ctime_ns, path))

    def judge(self, now: float, now_ns: int) -> list[str]:
        """The paths that no event has announced. To be called on every pass."""
        if self._has_lost and self._since_ns is not None:
            self.listen(now_ns)
        missed: list[str] = []
        while self._suspects and self._suspects[0][0] <= now:
            _, _, path = self._suspects.popleft()
            if path not in self._announced:
                missed.append(path)
        self.missed += len(missed)
        return missed

    def next_at(self) -> float | None:
        """When `judge` has something to say again."""
        return self._suspects[0][0] if self._suspects else None
