"""What can be known of one file: plain data between the search (watcher/story_search.py) and the telling (watcher/story.py)."""

from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["file", "link", "directory", "special", "missing"]


@dataclass(frozen=True, slots=True)
class Done:
    """An ingested image that this path was the source of; its files by their full paths."""

    inbox: str
    source: str  # its path below the inbox
    slot: str
    ingested_at: str
    thumbnails: tuple[str, ...]
    original: str | None
    manifest: str
    is_this_very_file: bool  # the file that stands in the inbox now, not an earlier one of the same name
    arrival_id: str = ""


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A file set aside; `file` is None when it stayed in its inbox (after = "keep"), `reason_file` is a full path."""

    reason: str
    message: str
    hint: str
    attempts: int
    at: str
    file: str | None
    reason_file: str
    is_this_very_file: bool
    arrival_id: str = ""


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything that is known of one path; times are Unix times in seconds."""

    path: str  # as it is shown
    now: float
    inbox: str = ""  # "" when the path leads into none
    kind: Kind = "missing"
    disk_error: str = ""  # the disk did not answer, so nothing of it is known
    blocked_why: str = ""  # rights stand in the way of a look
    offline_why: str = ""
    ignored_why: str = ""
    settle_why: str = ""
    settle_seconds: float = 0.0
    has_watcher: bool = True
    store_error: str = ""
    store_refusal: str = ""  # it answers, but takes nothing
    lease: str = ""
    lease_age_seconds: float = 0.0
    is_kept: bool = False
    reason: str = ""  # of the retry record
    message: str = ""
    tries: int = 0
    attempts: int = 0
    first_at: float | None = None
    not_before: float | None = None
    gives_up_at: float | None = None  # when a cut-off file is no longer waited for
    paused: dict[str, str] | None = None
    arrival_id: str = ""
    last_outcome: dict[str, Any] | None = None  # what the result store has for the arrival
    done: tuple[Done, ...] = ()  # the newest first
    quarantined: tuple[Quarantined, ...] = ()  # the newest first
