"""Quantities and modes as an operator writes them, both ways: `parse_` reads, `format_` writes an equal value back.

Pure; knows no key. A refused value raises ValueError whose text says what is allowed, in words for an operator: it is
shown as it is, so it names neither Python types nor the library that called the function. The same holds for
`config/names.py` and `config/addresses.py`.
"""

import datetime as dt
import json
import re
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

# Longest first: the first that fits exactly is how the value is written back.
_DURATION_UNITS = {
    "d": Decimal(86400),
    "h": Decimal(3600),
    "m": Decimal(60),
    "s": Decimal(1),
    "ms": Decimal("0.001"),
}
_SIZE_UNITS = {
    "TiB": 2**40,
    "TB": 10**12,
    "GiB": 2**30,
    "GB": 10**9,
    "MiB": 2**20,
    "MB": 10**6,
    "KiB": 2**10,
    "KB": 10**3,
    "B": 1,
}
# The number of digits is bounded so that no text becomes infinity or takes long to convert.
_NUMBER = r"([0-9]{1,15}(?:\.[0-9]{1,30})?)\s*"
_DURATION = re.compile(_NUMBER + "(" + "|".join(_DURATION_UNITS) + ")")
_SIZE = re.compile(_NUMBER + "(" + "|".join(_SIZE_UNITS) + ")")
_MAX_COUNT = 10**9  # longer ones are rather written as seconds with a fraction
_BOX = re.compile(r"([1-9][0-9]{0,4})x([1-9][0-9]{0,4})")
_MAX_SIDE = 16383  # the most that a WebP can hold; AVIF and JPEG end later


def parse_duration(value: Any) -> float:
    """Seconds from text like "30s", "1.5h" or "90d"; a number without a unit is refused."""
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if not match:
        raise ValueError('write a number with a unit (ms, s, m, h, d), like "30s"')
    return float(Decimal(match[1]) * _DURATION_UNITS[match[2]])


def format_duration(seconds: float) -> str:
    """Text like "30s" in the longest unit that fits exactly."""
    exact = Decimal(repr(seconds))
    for unit, factor in _DURATION_UNITS.items():
        if exact % factor == 0 and (exact or unit == "s") and exact / factor < _MAX_COUNT:
            return f"{exact / factor:.0f}{unit}"
    return f"{exact:f}s"


def parse_auto_duration(value: Any) -> float | None:
    """Seconds, or None for "auto"."""
    if value == "auto":
        return None
    try:
        return parse_duration(value)
    except ValueError as mistake:
        raise ValueError(f'write "auto", or {str(mistake).removeprefix("write ")}') from None


def format_auto_duration(seconds: float | None) -> str:
    """Text like "30s", or "auto" for None."""
    return "auto" if seconds is None else format_duration(seconds)


def lasting(shortest: str, longest: str) -> Callable[[float | None], float | None]:
    """A check that a duration lies between the two, both included; None passes."""
    low, high = parse_duration(shortest), parse_duration(longest)

    def check(seconds: float | None) -> float | None:
        if seconds is not None and not low <= seconds <= high:
            raise ValueError(f'from "{shortest}" to "{longest}"')
        return seconds

    return check


def parse_size(value: Any) -> int:
    """Bytes from text like "256MB" or "1GiB"; a number without a unit is refused."""
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if not match:
        raise ValueError('write a number with a unit (B, KB, MB, GB, TB, KiB, MiB, GiB, TiB), like "256MB"')
    return int(Decimal(match[1]) * _SIZE_UNITS[match[2]])


def format_size(size_bytes: int) -> str:
    """Text like "256MB" in the largest unit that fits exactly."""
    for unit, factor in _SIZE_UNITS.items():
        if size_bytes and size_bytes % factor == 0:
            return f"{size_bytes // factor}{unit}"
    return "0B"


def weighing(smallest: str, largest: str) -> Callable[[int], int]:
    """A check that a size lies between the two, both included."""
    low, high = parse_size(smallest), parse_size(largest)

    def check(size_bytes: int) -> int:
        if not low <= size_bytes <= high:
            raise ValueError(f'from "{smallest}" to "{largest}"')
        return size_bytes

    return check


def parse_mode(value: Any) -> int:
    """Permission bits from octal text like "0644"."""
    if not isinstance(value, str) or not re.fullmatch(r"0?[0-7]{3}", value):
        raise ValueError('write the octal mode as text, like "0644"')
    return int(value, 8)


def format_mode(mode: int) -> str:
    """Octal text like "0644"."""
    return f"{mode:04o}"


def owner_may(bits: int, words: str) -> Callable[[int], int]:
    """A check that a mode leaves its owner `bits` (of 0o7): Thumbdrop has to work with what it made."""

    def check(mode: int) -> int:
        if mode >> 6 & bits != bits:
            raise ValueError(f"the owner must keep the right to {words}")
        return mode

    return check


def parse_box(value: Any) -> tuple[int, int]:
    """(width, height) in pixels from text like "640x640"."""
    match = _BOX.fullmatch(value) if isinstance(value, str) else None
    if not match or max(int(match[1]), int(match[2])) > _MAX_SIDE:
        raise ValueError(f'write a box in pixels, like "640x640" (each side from 1 to {_MAX_SIDE})')
    return int(match[1]), int(match[2])


def format_box(box: tuple[int, int]) -> str:
    """Text like "640x640"."""
    return f"{box[0]}x{box[1]}"


def in_toml(value: Any) -> str:
    """A value on one line, as it would stand in a TOML file."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {in_toml(inner)}" for key, inner in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(in_toml(inner) for inner in value) + "]"
    if isinstance(value, bool | str | Path):
        return json.dumps(value if isinstance(value, bool) else str(value), ensure_ascii=False)
    return value.isoformat() if isinstance(value, dt.date | dt.time) else str(value)
