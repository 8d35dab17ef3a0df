"""Quantities in words for people: durations to one unit, because "3 min" is what somebody at a terminal wants."""

_UNITS = ((86400.0, "d"), (3600.0, "h"), (60.0, "min"), (1.0, "s"))


def roughly(seconds: float) -> str:
    """Say a duration in the largest unit that it fills at least once: "3 min", "12 s", "0.2 s"."""
    for size, unit in _UNITS:
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0.0, seconds):.1f} s"


def counted(number: int, thing: str, plural: str = "") -> str:
    """Say how many of a thing: "1 file", "12 files"; `plural` where an s is not enough."""
    return f"{number} {thing}" if number == 1 else f"{number} {plural or thing + 's'}"


def listed(counts: dict[str, int]) -> str:
    """Say counts by name, the largest first: "3 suffix, 1 hidden"; "none" for no counts."""
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{number} {name}" for name, number in ranked) or "none"
