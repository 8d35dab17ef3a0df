import datetime as dt
import random

import pytest

from config.values import (
    format_auto_duration,
    format_box,
    format_duration,
    format_mode,
    format_size,
    in_toml,
    lasting,
    parse_auto_duration,
    parse_box,
    parse_duration,
    parse_mode,
    parse_size,
    weighing,
)


@pytest.mark.parametrize(
    ("text", "seconds"), [("30s", 30), ("1.5h", 5400), ("90d", 7776000), ("250ms", 0.25), ("10 m", 600), ("0s", 0)]
)
def test_durations_carry_their_unit(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("value", ["30", 30, 30.0, True, None, "", "-1s", "1e3s", "s", "30 seconds", "٣s", "1s\n"])
def test_a_duration_without_a_unit_or_a_number_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="a number with a unit"):
        parse_duration(value)


@pytest.mark.parametrize(
    ("text", "size"), [("256MB", 256_000_000), ("1GiB", 2**30), ("1.5KB", 1500), ("0B", 0), ("4.35GB", 4_350_000_000)]
)
def test_sizes_carry_their_unit(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("value", ["256", 256, "1M", "1gb", "-1B", None, "9" * 400 + "TB"])
def test_a_size_without_a_unit_or_a_number_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="a number with a unit"):
        parse_size(value)


@pytest.mark.parametrize(
    ("seconds", "text"), [(30, "30s"), (5400, "90m"), (86400, "1d"), (0.25, "250ms"), (0, "0s"), (90, "90s")]
)
def test_durations_are_written_in_the_longest_unit_that_fits(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("size", "text"), [(256_000_000, "256MB"), (2**30, "1GiB"), (0, "0B"), (1001, "1001B"), (10**9, "1GB")]
)
def test_sizes_are_written_in_the_largest_unit_that_fits(size: int, text: str) -> None:
    assert format_size(size) == text


def test_whatever_is_written_reads_back_equal() -> None:
    chance = random.Random(7)
    for _ in range(2000):
        written = f"{chance.randrange(10 ** chance.randrange(1, 9))}.{chance.randrange(10**6)}"
        seconds = parse_duration(written + chance.choice(["ms", "s", "m", "h", "d"]))
        assert parse_duration(format_duration(seconds)) == seconds
        size = chance.randrange(10 ** chance.randrange(1, 16))
        assert parse_size(format_size(size)) == size


def test_auto_is_a_duration_of_its_own() -> None:
    assert parse_auto_duration("auto") is None
    assert format_auto_duration(None) == "auto"
    assert parse_auto_duration(format_auto_duration(1.5)) == 1.5
    with pytest.raises(ValueError, match='write "auto", or a number'):
        parse_auto_duration("automatic")


def test_limits_are_told_as_the_operator_writes_them() -> None:
    with pytest.raises(ValueError, match='from "1s" to "20m"'):
        lasting("1s", "20m")(0.5)
    with pytest.raises(ValueError, match='from "1B" to "1TB"'):
        weighing("1B", "1TB")(0)
    assert lasting("1s", "20m")(None) is None
    assert lasting("1s", "20m")(1200) == 1200


@pytest.mark.parametrize("value", ["644", "0644"])
def test_modes_are_octal_text(value: str) -> None:
    assert parse_mode(value) == 0o644
    assert format_mode(0o644) == "0644"


@pytest.mark.parametrize("value", [644, 0o644, "0o644", "0888", "rw-r--r--", "1777", ""])
def test_other_modes_are_refused(value: object) -> None:
    with pytest.raises(ValueError, match="octal"):
        parse_mode(value)


def test_boxes_are_width_times_height() -> None:
    assert parse_box("640x480") == (640, 480)
    assert format_box((640, 480)) == "640x480"


@pytest.mark.parametrize("value", ["640", "0x10", "640X480", "640 x 480", "-1x5", "16384x1", "1x99999", 640, "٣x٣"])
def test_other_boxes_are_refused(value: object) -> None:
    with pytest.raises(ValueError, match="1 to 16383"):
        parse_box(value)


def test_values_are_shown_as_in_a_toml_file() -> None:
    value = {"a": ["x", 1, 2.5, True], "b": {"day": dt.date(2024, 5, 6)}, "c": 'quo"te'}
    assert in_toml(value) == '{ a = ["x", 1, 2.5, true], b = { day = 2024-05-06 }, c = "quo\\"te" }'
