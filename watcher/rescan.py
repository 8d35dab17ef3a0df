"""When an inbox is scanned again: pure, monotonic seconds in and out.

A scan may be spread over hours, because it is pulled forward only as there is use for more. What counts for its cost is
the time spent looking, and asking in vain about files that it found (those kept, leased or put off). The pause after it
grows with that, so scanning never takes more than its share of the time. What a reader would get wrong: some of the
answers come when the scan is over already, so when the next one is due is not known before.
"""

from dataclasses import dataclass


@dataclass(slots=True)
class Rescan:
    """The clock of one inbox's scans. `interval_seconds` is the shortest pause between two of them."""

    interval_seconds: float
    share: float
    running: bool = False
    wanted: bool = True  # the first scan begins as soon as the watches are armed
    again: bool = False  # wanted once more while it runs: what changed behind the walk belongs to the next one
    started_at: float = 0.0
    finished_at: float | None = None
    spent_seconds: float = 0.0
    files: int = 0

    def want(self) -> None:
        """Ask for a scan as soon as possible; while one runs, for another after it."""
        if self.running:
            self.again = True
        else:
            self.wanted = True

    @property
    def due_at(self) -> float:
        """When a scan should begin, unless one is running."""
        if self.finished_at is None:
            return 0.0
        if self.wanted:  # whoever asks all the time gets half of the time
            return self.finished_at + self.spent_seconds
        return self.finished_at + max(self.interval_seconds, self.spent_seconds * (1 / self.share - 1))

    def is_due(self, now: float) -> bool:
        """Whether a scan should begin."""
        return not self.running and now >= self.due_at

    def start(self, now: float) -> None:
        """Note that a scan begins."""
        self.running, self.wanted, self.again = True, False, False
        self.started_at, self.spent_seconds, self.files = now, 0.0, 0

    def spend(self, seconds: float, files: int = 0) -> None:
        """Note what one pull, or a question about a file that it found, has cost, and how many files it found."""
        self.spent_seconds += seconds
        self.files += files

    def finish(self, now: float) -> None:
        """Note that a scan saw everything."""
        self.running, self.wanted, self.finished_at = False, self.again, now
