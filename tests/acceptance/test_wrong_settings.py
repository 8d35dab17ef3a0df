"""Wrong settings are all told at once, by every command, and nothing is touched."""

import pytest

from running import MakeThumbdrop

FIVE_MISTAKES = """\
[[inbox]]
path = "inbox"
settle = "300"
colour = "red"

[library]
path = "library"

[thumbnails]
format = "gif"
quality = 300

[limits]
max_bytes = "many"
"""
# Each with its key, its value, and a piece of what is said to be allowed.
MISTAKES = [
    ("inbox[0].settle", '"300"', '"30s"'),
    ("inbox[0].colour", '"red"', "watch, settle, after"),
    ("thumbnails.format", '"gif"', '"webp", "avif"'),
    ("thumbnails.quality", "300", "at most 100"),
    ("limits.max_bytes", '"many"', '"256MB"'),
]


@pytest.mark.parametrize("command", ["up", "watch", "worker", "check", "status"])
def test_five_mistakes_give_five_messages_and_exit_code_78(make_thumbdrop: MakeThumbdrop, command: str) -> None:
    thumbdrop = make_thumbdrop(FIVE_MISTAKES)
    said = thumbdrop.command(command)
    assert said.code == 78
    assert said.out == b""
    lines = said.err.decode().splitlines()
    assert len(lines) == len(MISTAKES)
    for key, value, allowed in MISTAKES:
        (line,) = (line for line in lines if line.startswith(f"{key} = "))
        assert line.startswith(f"{key} = {value}: ")
        assert allowed in line
        assert str(thumbdrop.folder / "thumbdrop.toml") in line
    assert not thumbdrop.library.exists()
    assert thumbdrop.pids() == {}


def test_a_mended_file_is_taken(make_thumbdrop: MakeThumbdrop) -> None:
    mended = FIVE_MISTAKES.replace('"300"', '"300ms"').replace('colour = "red"', "").replace('"gif"', '"webp"')
    thumbdrop = make_thumbdrop(mended.replace("quality = 300", "quality = 30").replace('"many"', '"1MB"'))
    assert thumbdrop.command("config", "show").code == 0
