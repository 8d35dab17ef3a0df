"""Why an image could not be done, as exception types: the type carries the decision, nobody parses text.

    IngestError                  a named outcome; anything else is unforeseen: retried, then internal_error
    |-- InputError               the file's own fault: quarantine, at once
    |-- TruncatedError           looks cut off: stays, so that the client can resume; quarantine after truncated_grace
    |-- ResourceError            disk full, quota, read-only, too many open files: pause the library, count nothing
    |-- BlockedError             may not read or move it: stays, looked at again at growing intervals
    |-- TransientError           I/O error, stale handle, store away: back-off without end
    |-- SupersededError          the file is no longer the one that was announced: the watcher looks again
    `-- GoneError                nothing stands there (any more, or a stale cache says so): the watcher looks again

Knows nothing of Celery, Redis or Pillow, and does no work.
"""

import errno
from enum import StrEnum


class Reason(StrEnum):
    """The closed list of reasons in quarantine's reason files and in retry records (ARCHITECTURE.md explains each)."""

    # the file's own fault
    CORRUPT = "corrupt"
    EMPTY = "empty"
    NOT_AN_IMAGE = "not_an_image"
    UNSUPPORTED_FORMAT = "unsupported_format"
    UNSUPPORTED_RAW = "unsupported_raw"
    TOO_MANY_BYTES = "too_many_bytes"
    TOO_MANY_PIXELS = "too_many_pixels"
    TOO_MANY_FRAMES = "too_many_frames"
    TOO_MANY_SCANS = "too_many_scans"
    TOO_MUCH_MEMORY = "too_much_memory"
    TOO_MUCH_TEXT = "too_much_text"
    TRUNCATED = "truncated"
    CRASHED_WORKER = "crashed_worker"
    TIMED_OUT = "timed_out"
    INTERNAL_ERROR = "internal_error"
    # ours or the weather: only in retry records
    LOST_WORKER = "lost_worker"
    NO_SPACE = "no_space"
    READ_ONLY = "read_only"
    TOO_MANY_OPEN_FILES = "too_many_open_files"
    PERMISSION = "permission"
    IO_ERROR = "io_error"
    SUPERSEDED = "superseded"
    GONE = "gone"
    UNKNOWN_MESSAGE = "unknown_message"


class IngestError(Exception):
    """A named outcome. `message` says operation, path and cause; `hint` the next step for the operator."""

    def __init__(self, reason: Reason, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.hint = hint


class InputError(IngestError):
    """The file's own fault; it goes to quarantine."""


class TruncatedError(IngestError):
    """The file looks cut off; it waits in the inbox for its client to resume."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(Reason.TRUNCATED, message, hint)


class ResourceError(IngestError):
    """The library has no room or may not be written; all work on it pauses."""


class BlockedError(IngestError):
    """Rights stand in the way; `message` names the mode and the owner."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(Reason.PERMISSION, message, hint)


class TransientError(IngestError):
    """The weather: tried again, later each time, without end."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(Reason.IO_ERROR, message, hint)


class SupersededError(IngestError):
    """The file is not (or no longer) the one that was announced."""

    def __init__(self, message: str) -> None:
        super().__init__(Reason.SUPERSEDED, message)


class GoneError(IngestError):
    """Nothing stands under that name."""

    def __init__(self, message: str) -> None:
        super().__init__(Reason.GONE, message)


_RESOURCE = {
    errno.ENOSPC: (Reason.NO_SPACE, "free some space; work goes on by itself"),
    errno.EDQUOT: (Reason.NO_SPACE, "raise the quota or free some space; work goes on by itself"),
    errno.EROFS: (Reason.READ_ONLY, "mount the file system read-write; work goes on by itself"),
    errno.EMFILE: (Reason.TOO_MANY_OPEN_FILES, "raise LimitNOFILE of the worker unit"),
    errno.ENFILE: (Reason.TOO_MANY_OPEN_FILES, "raise fs.file-max"),
}


def from_os_error(error: OSError, operation: str, path: str) -> IngestError:
    """The class of failure that an OSError from the inbox or the library stands for.

    `operation` is a verb phrase ("write the thumbnail"), `path` what it was done to; both go into the message.
    Anything that is neither a resource nor a permission counts as weather: wrongly retrying costs time, wrongly
    quarantining costs a photo.
    """
    text = f"could not {operation} {path}: {error.strerror or error}"
    if error.errno in _RESOURCE:
        reason, hint = _RESOURCE[error.errno]
        return ResourceError(reason, text, hint)
    if error.errno in (errno.EACCES, errno.EPERM):
        return BlockedError(text, "give the thumbdrop user the right to read and move the file")
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return GoneError(text)
    return TransientError(text)
