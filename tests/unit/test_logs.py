import io
import json
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from config.logs import configure, event_line, get_logger, printable


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    configure()  # whoever speaks to a journal gives its socket back
    logging.captureWarnings(capture=False)
    root.handlers[:] = handlers
    root.setLevel(level)


def failing(error: Exception) -> None:
    raise error


def said(environ: dict[str, str] | None = None) -> io.StringIO:
    stream = io.StringIO()
    configure("INFO", stream, environ or {})
    return stream


def without_time(line: str) -> str:
    return line.split(" ", 2)[2]


def test_a_line_is_an_event_and_its_fields_in_their_order() -> None:
    stream = said()
    get_logger("tasks.ingest").warning("image.quarantined", path="a/b.jpg", reason="too_many_pixels", pixels=412000000)
    assert without_time(stream.getvalue()) == (
        "warning image.quarantined path=a/b.jpg reason=too_many_pixels pixels=412000000\n"
    )


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("a b", '"a b"'),
        ('say "x"', r'"say \"x\""'),
        ("a=b", '"a=b"'),
        ("", '""'),
        ("a\\nb", r'"a\\nb"'),
        ("a\nb", r'"a\nb"'),
        ("a\u2028b", r'"a\u2028b"'),
        ("Zoë.jpg", "Zoë.jpg"),
        (Path("a/b"), "a/b"),
        (b"caf\xe9.jpg", r'"caf\xe9.jpg"'),
        (None, "none"),
        (True, "true"),
        (1.5, "1.5"),
        (2.0, "2"),
        (0.12345, "0.123"),
        (1234567.25, "1234567.25"),
        (["a", "b"], "a,b"),
        (ValueError("no such thing"), '"ValueError: no such thing"'),
        (TimeoutError(), "TimeoutError"),
    ],
)
def test_values_are_quoted_when_a_reader_could_take_them_apart_wrongly(value: object, written: str) -> None:
    assert event_line("it.happened", {"value": value}) == f"it.happened value={written}"


def test_an_escaped_newline_and_a_backslash_with_an_n_look_different() -> None:
    assert event_line("e", {"path": "a\nb"}) != event_line("e", {"path": "a\\nb"})


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("photo.jpg", "photo.jpg"),
        ("Zoë 日本 👩‍🚀", "Zoë 日本 👩‍🚀"),
        ("a\x1b[2Jb", r"a\x1b[2Jb"),
        ("a\nb\tc\rd", r"a\nb\tc\rd"),
        ("a\x00\x7f", r"a\x00\x7f"),
        ("a\x85b\x9b", r"a\u0085b\u009b"),
        ("gpj\u202eexe", r"gpj\u202eexe"),
        ("a\u2028b\u2029", r"a\u2028b\u2029"),
        (os.fsdecode(b"caf\xe9"), r"caf\xe9"),
        ("\ud800", r"\ud800"),
    ],
)
def test_names_print_safely(name: str, safe: str) -> None:
    assert printable(name) == safe


def test_no_letter_at_all_reaches_a_log_as_a_control_or_a_surrogate() -> None:
    every = "".join(map(chr, range(sys.maxunicode + 1)))
    safe = printable(every)
    assert "\n" not in safe
    assert not any(ord(letter) < 0x20 or 0x7F <= ord(letter) < 0xA0 for letter in safe)
    safe.encode("utf-8")


def test_a_name_with_a_newline_cannot_forge_a_line() -> None:
    stream = said()
    get_logger("x").info("image.done", path="a\n2026-01-01 00:00:00 info image.done path=forged")
    assert stream.getvalue().count("\n") == 1


def test_a_plain_message_of_a_library_becomes_one_safe_line() -> None:
    stream = said()
    logging.getLogger("kombu.connection").error("Lost\n%s\x1b[31m", "broker")
    assert without_time(stream.getvalue()) == (
        'error message.logged logger=kombu.connection text="Lost\\nbroker\\x1b[31m"\n'
    )


def test_a_librarys_wrong_format_does_not_cost_its_message() -> None:
    stream = said()
    logging.getLogger("other").warning("%d images of %s", "many")  # noqa: PLE1206 - the mistake is the test
    assert "%d images of %s" in stream.getvalue()


def test_no_password_of_an_address_reaches_a_log() -> None:
    stream = said()
    logging.getLogger("kombu").error("cannot connect to amqp://me:s3cr@et@host:5672/v")
    try:
        failing(ConnectionError("redis://:s3cret@host refused"))
    except ConnectionError as error:
        get_logger("x").exception("broker.refused", error=error)
    assert "s3cr" not in stream.getvalue()
    assert "amqp://me:***@host:5672/v" in stream.getvalue()


def test_a_traceback_follows_in_lines_that_nobody_can_mistake_for_events() -> None:
    stream = said()
    try:
        failing(ValueError("bad name: a\nimage.done path=forged\x1b\r\x85"))
    except ValueError:
        get_logger("x").exception("ingest.failed", path="a")
    first, *others = stream.getvalue().splitlines()
    assert without_time(first) == "error ingest.failed path=a"
    assert others[0] == "  | Traceback (most recent call last):"
    assert all(line.startswith("  | ") for line in others)
    assert others[-1] == r"  | image.done path=forged\x1b\r\u0085"
    assert "\x1b" not in stream.getvalue()


def test_warnings_of_python_are_logged() -> None:
    stream = said()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("this will go away", FutureWarning, stacklevel=1)
    assert "message.logged logger=py.warnings" in stream.getvalue()
    assert stream.getvalue().count("\n") == 1


def test_a_disabled_level_says_nothing() -> None:
    stream = said()
    get_logger("x").debug("it.happened")
    assert stream.getvalue() == ""


def test_configuring_again_does_not_double_the_lines() -> None:
    said()
    stream = said()
    get_logger("x").info("it.happened")
    assert stream.getvalue().count("it.happened") == 1


def test_a_journal_that_takes_no_fields_gets_lines_with_priorities_and_no_time(tmp_path: Path) -> None:
    with (tmp_path / "journal").open("w+") as stream:
        stat = os.fstat(stream.fileno())
        away = str(tmp_path / "no-such-socket")
        configure("DEBUG", stream, {"JOURNAL_STREAM": f"{stat.st_dev}:{stat.st_ino}"}, away)
        log = get_logger("x")
        log.debug("a.b")
        log.info("a.b")
        log.warning("a.b")
        try:
            failing(OSError("full"))
        except OSError:
            log.exception("a.b")
        stream.seek(0)
        lines = stream.read().splitlines()
    assert lines[:4] == ["<7>a.b", "<6>a.b", "<4>a.b", "<3>a.b"]
    assert all(line.startswith("<3>  | ") for line in lines[4:])


def test_an_inherited_journal_stream_that_is_not_ours_changes_nothing(tmp_path: Path) -> None:
    with (tmp_path / "elsewhere").open("w+") as stream:
        configure("INFO", stream, {"JOURNAL_STREAM": "8:12345"})
        get_logger("x").info("a.b")
        stream.seek(0)
        assert not stream.read().startswith("<")


def test_other_handlers_see_the_fields_too(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        get_logger("x").info("image.done", path="100%s.jpg")
    assert caplog.messages == ["image.done path=100%s.jpg"]


def test_a_field_may_be_called_event() -> None:
    stream = said()
    get_logger("x").info("hook.called", event=json.dumps({"a": 1}))
    assert r'event="{\"a\": 1}"' in stream.getvalue()
