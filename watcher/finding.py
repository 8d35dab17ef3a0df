"""One line of `thumbdrop check`: plain data."""

from dataclasses import asdict, dataclass
from typing import Literal

Verdict = Literal["ok", "note", "warning", "failed"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at and how it is; `remedy` says what to do, "" where nothing is to be done."""

    verdict: Verdict
    what: str
    remedy: str = ""

    def as_json(self) -> dict[str, str]:
        """Make the finding JSON primitives."""
        return asdict(self)
