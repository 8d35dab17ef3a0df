"""README.md does not lie: its commands run, its settings load, the commands and keys that it names exist."""

import re
import shlex
from pathlib import Path

import pytest

from config.load import load
from config.settings import Settings
from config.tree import leaves
from config.values import parse_duration
from images import image_bytes
from needs import ROOT
from running import MakeThumbdrop, Thumbdrop
from servers import RABBITMQ_SETUP
from tasks.errors import Reason

README = (ROOT / "README.md").read_text()

# Below <!-- install: debian --> and the like: they change a whole system, and tests/systemd follows them on a booted one.
ON_A_BOOTED_SYSTEM = re.compile(
    r"^<!-- (install|upgrade|remove|purge|sftp): [a-z ]+ -->\n```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL
)
MAKE = ("make run", "make test")
FIRST_STEPS = (
    "cp ~/Pictures/*.jpg inbox/",
    ".venv/bin/thumbdrop status",
    ".venv/bin/thumbdrop why inbox/IMG_0001.jpg",
    "ls -R library/thumbnails",
)
SETTING_UP = ("thumbdrop config init /etc/thumbdrop/thumbdrop.toml", "thumbdrop check")  # "by hand"
RABBITMQ = tuple(command.format(password="PASSWORD") for command in RABBITMQ_SETUP)


def blocks(language: str) -> list[str]:
    """The fenced blocks of a language, without the indent of the list that they may stand in."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```$", README, re.MULTILINE | re.DOTALL)
    return ["".join(line.removeprefix(indent) for line in text.splitlines(keepends=True)) for indent, text in found]


def table(heading: str) -> str:
    """The rows of the first table below a heading."""
    below = README.partition(f"## {heading}\n")[2]
    assert below, heading
    return "\n".join(line for line in below.partition("\n## ")[0].splitlines() if line.startswith("|"))


def test_every_command_in_a_block_is_run_or_says_why_not() -> None:
    elsewhere = [block for _, block in ON_A_BOOTED_SYSTEM.findall(README)]
    assert len(elsewhere) >= 8
    lines = [line for block in blocks("sh") if block not in elsewhere for line in block.splitlines()]
    assert sorted(lines) == sorted([*MAKE, *FIRST_STEPS, *RABBITMQ])
    assert set(SETTING_UP) <= {line for block in elsewhere for line in block.splitlines()}


@pytest.mark.parametrize("command", MAKE)
def test_make_knows_its_targets(command: str, make_thumbdrop: MakeThumbdrop) -> None:
    said = make_thumbdrop().run("make", "-n", "-C", str(ROOT), *command.split()[1:])
    assert said.code == 0, said
    assert {"make run": "bin/thumbdrop up", "make test": "bin/python -m pytest"}[command] in said.text


@pytest.fixture
def first_run(make_thumbdrop: MakeThumbdrop) -> Thumbdrop:
    """What `make run` leaves to the second terminal: no settings, `up` in the foreground, .venv, photos at home."""
    thumbdrop = make_thumbdrop(None)
    (thumbdrop.folder / ".venv").mkdir()
    (thumbdrop.folder / ".venv" / "bin").symlink_to(thumbdrop.program.parent)
    (thumbdrop.folder / "Pictures").mkdir()
    (thumbdrop.folder / "Pictures" / "IMG_0001.jpg").write_bytes(image_bytes())
    thumbdrop.environ["HOME"] = str(thumbdrop.folder)
    thumbdrop.start("up", "--workers", "1")
    return thumbdrop


def test_the_first_steps_show_what_they_promise(first_run: Thumbdrop) -> None:
    copy, status, why, look = FIRST_STEPS
    assert run_line(first_run, copy) == ""
    assert "inbox" in run_line(first_run, status)
    first_run.wait_done(1)
    assert "done at" in run_line(first_run, why)
    assert "IMG_0001_640x640.jpg" in run_line(first_run, look)


def run_line(thumbdrop: Thumbdrop, line: str) -> str:
    said = thumbdrop.run("sh", "-c", line)
    assert said.code == 0, said
    return said.text


def test_the_annotated_settings_can_be_written_and_pass_the_check(make_thumbdrop: MakeThumbdrop) -> None:
    init, check = (shlex.split(line.replace("/etc/thumbdrop/", "")) for line in SETTING_UP)
    thumbdrop = make_thumbdrop(None)
    thumbdrop.library.mkdir()
    assert thumbdrop.command(*init[1:]).code == 0
    written = (thumbdrop.folder / "thumbdrop.toml").read_text()
    assert "/srv/thumbdrop/" in written
    thumbdrop.configure(written.replace("/srv/thumbdrop", str(thumbdrop.folder)))  # which thumbdrop.tmpfiles makes
    said = thumbdrop.command(*check[1:])
    assert said.code == 0, said


@pytest.mark.parametrize("block", blocks("toml"))
def test_a_block_of_settings_has_no_mistake(block: str, tmp_path: Path) -> None:
    file = tmp_path / "thumbdrop.toml"
    file.write_text(block)
    loaded = load(file, {})
    assert any(origin.startswith("file ") for origin in loaded.origins.values())


@pytest.mark.parametrize(
    "command", [row.partition("`")[2].partition("`")[0] for row in table("Daily commands").splitlines()[2:]]
)
def test_a_command_of_the_table_exists_with_its_options(command: str, make_thumbdrop: MakeThumbdrop) -> None:
    words = [word for word in command.split()[1:] if not word.isupper()]
    options = {word for word in words if word.startswith("--")}
    said = make_thumbdrop().command(*[word for word in words if word not in options], "--help")
    assert said.code == 0, said
    assert {"--config", *options} <= set(re.findall(r"--[a-z-]+", said.text))


def test_the_table_of_commands_names_them_all(make_thumbdrop: MakeThumbdrop) -> None:
    listed = make_thumbdrop().command("--help").text.partition("Commands:")[2]
    commands = set(re.findall(r"^  ([a-z-]+) ", listed, re.MULTILINE))
    assert commands
    assert commands == set(re.findall(r"`thumbdrop ([a-z]+)", table("Daily commands")))


def test_other_commands_in_the_text_exist(make_thumbdrop: MakeThumbdrop) -> None:
    mentioned = set(re.findall(r"thumbdrop (quarantine [a-z]+|config [a-z]+)", README)) | {
        f"{group} {name}"
        for group, row in (("quarantine", "thumbdrop quarantine list"), ("config", "thumbdrop config show"))
        for name in re.findall(r"`(retry|drop|config init|init)\b", row_of(row))
    }
    thumbdrop = make_thumbdrop()
    for words in {one.replace("config config", "config") for one in mentioned}:
        assert thumbdrop.command(*words.split(), "--help").code == 0, words


def row_of(command: str) -> str:
    return next(row for row in table("Daily commands").splitlines() if f"`{command}" in row)


def test_settings_and_reasons_that_the_table_of_what_happens_names_exist() -> None:
    keys = {key.rpartition(".")[2] for key, _ in leaves(Settings().as_written())}
    words = re.findall(r"`([^`]+)`", table("What happens when"))
    # What is written `key = value`, or of words with underscores between them, can be nothing else.
    named = {word.partition(" = ")[0] for word in words if re.fullmatch(r"[a-z]+ = .*|[a-z]+(_[a-z]+)+( = .*)?", word)}
    assert {"truncated_grace", "same_name", "crashed_worker"} <= named
    assert named <= keys | set(Reason)


def test_the_defaults_that_the_table_of_what_happens_names_are_the_defaults() -> None:
    defaults = {key.rpartition(".")[2]: value for key, value in leaves(Settings().as_written())}
    named = re.findall(r"`(\w+)` \((\d+)(?: (s|h|min|GB))?\)", table("What happens when"))
    units = {"min": "m"}
    told = {key: f"{number}{units.get(unit, unit)}" for key, number, unit in named}
    assert len(told) >= 6
    assert told.pop("settle") == "2s"  # of "auto", on a local file system
    assert {key: in_seconds(value) for key, value in told.items()} == {
        key: in_seconds(str(defaults[key])) for key in told
    }


def in_seconds(value: str) -> float | str:
    """A duration in seconds, so that 24h is 1d; everything else as it is."""
    return parse_duration(value) if value[-1] in "smhd" else value
