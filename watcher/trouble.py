"""One outside thing that may be away: what it last said, and not before when it is asked again. Time comes in as a number."""

from dataclasses import dataclass

from config.logs import get_logger

log = get_logger(__name__)

MAX_BACKOFF_SECONDS = 30.0


@dataclass(slots=True)
class Trouble:
    """The broker or the lease store; `until` is when it may be asked again (monotonic)."""

    name: str
    text: str = ""
    failures: int = 0
    until: float = 0.0

    def failed(self, error: BaseException, now: float) -> None:
        """Note a failure, and wait longer after each."""
        self.text = f"{type(error).__name__}: {error}"
        if not self.failures:
            log.warning(f"{self.name}.unreachable", error=self.text)
        self.until = now + min(MAX_BACKOFF_SECONDS, 0.5 * 2 ** min(self.failures, 8))
        self.failures += 1

    def worked(self) -> None:
        """Note that it answered."""
        if self.failures:
            log.info(f"{self.name}.recovered", failures=self.failures)
        self.text, self.failures, self.until = "", 0, 0.0
