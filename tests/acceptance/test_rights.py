"""Files and directories whose mode or owner keeps Thumbdrop from them, with the real processes.

Root may read everything, so what runs here is root without the rights to pass over modes: an ordinary user to every
file that is not its own.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from images import image_bytes
from needs import need
from running import SETTINGS, MakeThumbdrop, Said, Thumbdrop, assert_complete
from unprivileged import NOBODY
from waiting import wait_until

pytestmark = [pytest.mark.faults, pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(150)]

QUICK = SETTINGS + '\n[watcher]\nrescan = "1s"\n'
BOUND = ("--bounding-set=-dac_override,-dac_read_search,-fowner", "--")
PHOTO = image_bytes(width=400, height=300)
OWNER = f"owner nobody ({NOBODY})"


def test_what_may_not_be_read_or_moved_is_named_with_mode_and_owner_and_goes_on_after_chmod(
    make_thumbdrop: MakeThumbdrop,
) -> None:
    """One run for all three, because the first wait for somebody's chmod is half a minute."""
    thumbdrop = make_thumbdrop(QUICK)
    give_away(thumbdrop, "unreadable.jpg", 0o000, lambda path: path)
    give_away(thumbdrop, "unmovable/photo.jpg", 0o755, lambda path: path.parent)
    give_away(thumbdrop, "closed/photo.jpg", 0o700, lambda path: path.parent)
    thumbdrop.spawn([need("setpriv"), *BOUND, str(thumbdrop.program), "up", "--workers", "1"], "up")

    assert_told(thumbdrop, "unreadable.jpg", "retrying", "'unreadable.jpg' has mode 0000", "read")
    assert_told(thumbdrop, "unmovable/photo.jpg", "retrying", "its directory has mode 0755", "move")
    assert_told(thumbdrop, "closed/photo.jpg", "blocked", "'closed' has mode 0700", "look")
    assert thumbdrop.standing() == ["closed/photo.jpg", "unmovable/photo.jpg", "unreadable.jpg"]
    assert all("Permission denied" in problem for problem in status(thumbdrop)["problems"])
    assert not thumbdrop.reasons()

    (thumbdrop.inbox / "unreadable.jpg").chmod(0o644)
    (thumbdrop.inbox / "unmovable").chmod(0o777)
    (thumbdrop.inbox / "closed").chmod(0o777)
    thumbdrop.wait_done(3, seconds=75)
    # What the watcher was deaf to is shown for a minute, so that nobody overlooks it.
    wait_until(lambda: not problem_with(thumbdrop, OWNER), "status drops what was mended", 30)
    dropped = {f"{name}.jpg": PHOTO + name.encode() for name in ("unreadable", "unmovable/photo", "closed/photo")}
    assert_complete(thumbdrop, dropped)
    for name in dropped:
        assert why(thumbdrop, name)["state"] == "done"


def give_away(thumbdrop: Thumbdrop, name: str, mode: int, choose: Callable[[Path], Path]) -> None:
    """Drop a photo; it, or its directory, becomes somebody else's."""
    path = thumbdrop.drop(name, PHOTO + name.removesuffix(".jpg").encode())
    os.chown(choose(path), NOBODY, NOBODY)
    choose(path).chmod(mode)


def assert_told(thumbdrop: Thumbdrop, name: str, state: str, mode: str, verb: str) -> None:
    """`why` and `status` name the mode and the owner that stand in the way, and no attempt is counted."""
    story = wait_until(lambda: (s := why(thumbdrop, name))["state"] == state and s, f"{name} is {state}", 40)
    told = " ".join(story["story"])
    assert f"{mode} and {OWNER}" in told
    assert story.get("attempts", 0) == 0
    assert "Permission denied" in told
    problem = wait_until(lambda: problem_with(thumbdrop, mode), f"status names {name}", 30)
    assert OWNER in problem
    assert verb in problem or verb == "read"


def problem_with(thumbdrop: Thumbdrop, words: str) -> str:
    return next((problem for problem in status(thumbdrop)["problems"] if words in problem), "")


def status(thumbdrop: Thumbdrop) -> dict[str, Any]:
    document: dict[str, Any] = bound(thumbdrop, "status", "--json").json
    return document


def why(thumbdrop: Thumbdrop, name: str) -> dict[str, Any]:
    story: dict[str, Any] = bound(thumbdrop, "why", f"inbox/{name}", "--json").json
    return story


def bound(thumbdrop: Thumbdrop, *words: str) -> Said:
    """Run a command as whom the modes bind."""
    return thumbdrop.run(need("setpriv"), *BOUND, thumbdrop.program, *words)
