"""What can be typed: every command of the contract is there, and wrong usage is exit code 2."""

import subprocess
import sys

import pytest
from click.testing import CliRunner

from watcher.cli import main

COMMANDS = {"up", "watch", "worker", "scan", "status", "why", "quarantine", "check", "config"}


def test_the_commands_are_those_of_the_contract() -> None:
    assert set(main.commands) == COMMANDS
    assert set(main.commands["quarantine"].commands) == {"list", "retry", "drop"}  # type: ignore[attr-defined] # a group
    assert set(main.commands["config"].commands) == {"show", "init"}  # type: ignore[attr-defined] # a group


@pytest.mark.parametrize("command", sorted(COMMANDS - {"quarantine", "config"}))
def test_every_command_takes_a_settings_file_and_explains_itself(command: str) -> None:
    result = CliRunner().invoke(main, [command, "--help"])
    assert result.exit_code == 0
    assert "--config FILE" in result.output


@pytest.mark.parametrize(
    "arguments",
    [["nothing"], ["why"], ["up", "--workers", "0"], ["watch", "--pidfile", "x"], ["quarantine", "retry"]],
)
def test_wrong_usage_is_exit_code_2(arguments: list[str]) -> None:
    assert CliRunner().invoke(main, arguments).exit_code == 2


def test_help_loads_neither_settings_nor_celery_nor_pillow() -> None:
    script = (
        "import sys, watcher.cli; print({'pydantic', 'celery', 'redis', 'PIL', 'watchdog', 'rich'} & set(sys.modules))"
    )
    environ = {"PYTHONPATH": ":".join(filter(None, sys.path))}
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environ)
    assert loaded.stdout.strip() == "set()"
