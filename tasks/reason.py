"""What was found about a file in quarantine, and its JSON form (the reason file), version 1. Pure."""

from dataclasses import dataclass

from tasks.messages import Arrival
from tasks.records import from_json, from_utc, get, get_optional, get_source, printable, source_fields, to_json

VERSION = 1


@dataclass(frozen=True, slots=True)
class Finding:
    """Why a file cannot become thumbnails.

    `reason` is a value of `errors.Reason` (or of a newer version's); times are like "2024-05-06T07:08:09Z"; `sha256` is
    None for a file that was too long to be hashed, or was not there to be read.
    """

    reason: str
    message: str
    hint: str
    attempts: int
    sha256: str | None
    source: Arrival
    first_seen_at: str
    quarantined_at: str


def to_bytes(finding: Finding) -> bytes:
    """The finding as it stands in its reason file."""
    return to_json(
        {
            "version": VERSION,
            "reason": str(finding.reason),
            "message": printable(finding.message),
            "hint": printable(finding.hint),
            "attempts": finding.attempts,
            "sha256": finding.sha256,
            "source": source_fields(finding.source),
            "first_seen_at": finding.first_seen_at,
            "quarantined_at": finding.quarantined_at,
        }
    )


def from_bytes(content: bytes) -> Finding:
    """Read a reason file; RecordError says what is wrong with a damaged one."""
    record = from_json(content, VERSION)
    finding = Finding(
        reason=get(record, "reason", str),
        message=get(record, "message", str),
        hint=get(record, "hint", str),
        attempts=get(record, "attempts", int),
        sha256=get_optional(record, "sha256", str),
        source=get_source(record),
        first_seen_at=get(record, "first_seen_at", str),
        quarantined_at=get(record, "quarantined_at", str),
    )
    from_utc(finding.quarantined_at)
    return finding
