"""Log lines for the operator at three in the morning: `image.quarantined path=a/b.jpg reason=corrupt`, one event a line.

On top of the standard `logging`, because Celery, kombu and others log through it too; what they say becomes one safe
line as well. Names from files are escaped: no control character reaches a terminal or a log raw. Under systemd every
event goes to the journal with its fields (config/journal.py). What a reader would get wrong: JOURNAL_STREAM alone proves
nothing, a child inherits it together with another stderr (systemd.exec(5)).
"""

import logging
import os
import re
import sys
import time
import unicodedata
from collections.abc import Mapping
from typing import Any, TextIO

from config.addresses import without_passwords
from config.journal import ADDRESS, Journal, field_name

# The prefixes of sd-daemon(3).
_PRIORITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}
_IDENTIFIER = "thumbdrop"  # `journalctl -t thumbdrop`, whichever program of ours it was
# They turn the direction of what follows: "gpj.exe" reads "exe.jpg" (Unicode TR 36, 2.10).
_BIDI_CONTROLS = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
_SHORT_ESCAPES = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}
_PLAIN_VALUE = re.compile(r'[^\s"=\\]+')


def printable(text: str) -> str:
    r"""Escape what a terminal or a log must not get: control characters, line separators, surrogates, bidi controls.

    Bytes that were not UTF-8 (surrogateescape) come out as `\xff`, the rest as `\n`, `\x1b` or `\u202e`; backslashes
    stay single, so that the result is to be read and not to be parsed.
    """
    return text if text.isprintable() else "".join(_escaped(letter) for letter in text)


def _escaped(letter: str) -> str:
    if letter not in _BIDI_CONTROLS and unicodedata.category(letter) not in {"Cc", "Cs", "Zl", "Zp"}:
        return letter
    code = ord(letter)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    return _SHORT_ESCAPES.get(letter) or (f"\\x{code:02x}" if code < 0x80 else f"\\u{code:04x}")


def event_line(event: str, fields: Mapping[str, Any]) -> str:
    r"""`event key=value ...`, the fields in their order; values with spaces, quotes, `=` or `\` are quoted."""
    return " ".join([event, *(f"{key}={_value(value)}" for key, value in fields.items())])


def _value(value: Any) -> str:
    text = _text(value)
    if _PLAIN_VALUE.fullmatch(text) and printable(text) == text:
        return text
    quoted = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{printable(quoted)}"'


def _text(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.3f}".rstrip("0").rstrip(".")
    if isinstance(value, bytes | os.PathLike):
        return os.fsdecode(value)
    if isinstance(value, BaseException):
        return f"{type(value).__name__}: {value}" if str(value) else type(value).__name__
    return ",".join(_text(one) for one in value) if isinstance(value, list | tuple) else str(value)


class EventLogger:
    """Says events with fields through a standard logger; a disabled level costs nothing."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger

    def debug(self, event: str, /, **fields: Any) -> None:
        """Say something that only a developer looks for."""
        self._log(logging.DEBUG, event, fields)

    def info(self, event: str, /, **fields: Any) -> None:
        """Say what was done."""
        self._log(logging.INFO, event, fields)

    def warning(self, event: str, /, **fields: Any) -> None:
        """Say what is not as it should be, though the work goes on."""
        self._log(logging.WARNING, event, fields)

    def error(self, event: str, /, **fields: Any) -> None:
        """Say what stopped and needs somebody."""
        self._log(logging.ERROR, event, fields)

    def exception(self, event: str, /, **fields: Any) -> None:
        """Say an error with the traceback of the exception that is being dealt with."""
        self._log(logging.ERROR, event, fields, with_traceback=True)

    def _log(self, level: int, event: str, fields: Mapping[str, Any], *, with_traceback: bool = False) -> None:
        if self._logger.isEnabledFor(level):
            # The whole line is the message, so that other formatters (Celery's, pytest's) show the fields too.
            told = {"is_event": True, "event": event, "fields": fields}
            self._logger.log(level, event_line(event, fields), exc_info=with_traceback, extra=told)


def get_logger(name: str) -> EventLogger:
    """The logger of a module, by its `__name__`."""
    return EventLogger(logging.getLogger(name))


class LineFormatter(logging.Formatter):
    """One safe line for each record; a traceback follows in lines that nobody can mistake for events."""

    def __init__(self, *, is_journal: bool) -> None:
        super().__init__()
        self._is_journal = is_journal

    def format(self, record: logging.LogRecord) -> str:
        """Every line gets the priority (journald cuts at newlines), or the first one the time and level."""
        lines = self.lines(record)
        if self._is_journal:
            priority = f"<{_PRIORITIES.get(record.levelno, 6)}>"
            return "\n".join(priority + line for line in lines)
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.created))
        return "\n".join([f"{when} {record.levelname.lower()} {lines[0]}", *lines[1:]])

    def lines(self, record: logging.LogRecord) -> list[str]:
        """The event, and below it the lines of its traceback."""
        return [self._first_line(record), *self._traceback(record)]

    def _first_line(self, record: logging.LogRecord) -> str:
        if getattr(record, "is_event", False):
            return printable(without_passwords(_message(record)))
        return event_line(*_event_of(record))

    def _traceback(self, record: logging.LogRecord) -> list[str]:
        parts = [self.formatException(record.exc_info)] if record.exc_info and record.exc_info[0] else []
        parts += [record.stack_info] if record.stack_info else []
        # Split at newlines alone: other separators are escaped, and a name within may not begin a line of its own.
        return [f"  | {printable(without_passwords(line))}" for part in parts for line in part.split("\n")]


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:  # noqa: BLE001 - a library's wrong format must not cost us its message
        return f"{record.msg!r} {record.args!r}"


def _event_of(record: logging.LogRecord) -> tuple[str, Mapping[str, Any]]:
    """An event and its fields, as a module of ours said them or as they are made of what a library said."""
    if getattr(record, "is_event", False):
        return record.__dict__["event"], record.__dict__["fields"]
    return "message.logged", {"logger": record.name, "text": without_passwords(_message(record)).strip()}


class JournalHandler(logging.StreamHandler[TextIO]):
    """Sends each record to the journal as one entry with all its fields; to the stream when the journal takes none."""

    def __init__(self, stream: TextIO, address: str) -> None:
        super().__init__(stream)
        self._journal = Journal(address)
        self._lines = LineFormatter(is_journal=True)
        self.setFormatter(self._lines)

    def emit(self, record: logging.LogRecord) -> None:
        """Send it; every value is escaped like the line, so that it stays text in every form of output."""
        event, fields = _event_of(record)
        entry = {
            "MESSAGE": "\n".join(self._lines.lines(record)),
            "PRIORITY": str(_PRIORITIES.get(record.levelno, 6)),
            "SYSLOG_IDENTIFIER": _IDENTIFIER,
            field_name("event"): event,
        }
        entry |= {field_name(key): printable(without_passwords(_text(value))) for key, value in fields.items()}
        if not self._journal.send(entry):
            super().emit(record)

    def close(self) -> None:
        """Give the socket back; the stream is not ours."""
        self._journal.close()
        super().close()


def configure(
    level: str = "INFO",
    stream: TextIO | None = None,
    environ: Mapping[str, str] = os.environ,
    journal: str = ADDRESS,
) -> None:
    """Send every log line of this process, and Python's warnings, to `stream` (stderr); may be called again.

    Where the stream is the one that systemd connected to its journal, they go to the socket `journal` instead.
    """
    stream = stream or sys.stderr
    if _is_journal(stream, environ):
        handler: logging.StreamHandler[TextIO] = JournalHandler(stream, journal)
    else:
        handler = logging.StreamHandler(stream)
        handler.setFormatter(LineFormatter(is_journal=False))
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
        if isinstance(old, JournalHandler):
            old.close()
    root.addHandler(handler)
    root.setLevel(level)
    logging.captureWarnings(capture=True)


def _is_journal(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Whether the stream is the one that systemd connected to the journal: device and inode must be equal."""
    try:
        stat = os.fstat(stream.fileno())
    except (OSError, ValueError):  # no descriptor behind it (io.UnsupportedOperation is both), or a closed one
        return False
    return environ.get("JOURNAL_STREAM") == f"{stat.st_dev}:{stat.st_ino}"
