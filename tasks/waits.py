"""How long a file waits before it is tried again: pure, seconds in and out.

Growing waits, so that a thousand bad files never cost what one good one does; bounded, so that nobody waits a day for
a share that is back since yesterday.
"""

from tasks.errors import BlockedError, GoneError, IngestError, ResourceError, SupersededError, TruncatedError

_GROWTH = {  # (first wait, factor, longest) in seconds
    # A stalled client often resumes within a minute, a broken one next morning.
    TruncatedError: (30.0, 4.0, 3600.0),
    # Somebody has to run chmod: soon after the complaint, or tomorrow.
    BlockedError: (30.0, 2.0, 3600.0),
    # The pause flag holds everything back anyway; look again as it ends.
    ResourceError: (10.0, 1.0, 10.0),
    # Whole-second mtimes of a network mount settle within seconds; three times is the most that it happens.
    SupersededError: (2.0, 4.0, 60.0),
}
_WEATHER = (5.0, 2.0, 600.0)


def wait_seconds(why: IngestError, tries: int, rescan_seconds: float, grace_left_seconds: float = 0.0) -> float:
    """Seconds until the next try, after `tries` earlier ones in a row for the same reason.

    `grace_left_seconds` is the rest of a cut-off file's `truncated_grace`: the last try is made as it ends.
    """
    if isinstance(why, GoneError):  # perhaps a stale directory cache: not before one rescan
        return rescan_seconds
    growth = (growth for kind, growth in _GROWTH.items() if isinstance(why, kind))
    first, factor, longest = next(growth, _WEATHER)
    wait = min(longest, first * factor ** min(tries, 16))
    return min(wait, grace_left_seconds) if isinstance(why, TruncatedError) and grace_left_seconds > 0 else wait
