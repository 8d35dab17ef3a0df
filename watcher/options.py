"""What several commands share: `--config FILE`, `--json`, and the settings that come of it."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from config.load import Loaded

Command = TypeVar("Command", bound=Callable[..., Any])


def config_option(command: Command) -> Command:
    """Add `--config FILE`, passed on as `config`: a Path or None."""
    return click.option(
        "--config",
        type=click.Path(path_type=Path, dir_okay=False),
        metavar="FILE",
        help="The settings file. Default: $THUMBDROP_CONFIG, ./thumbdrop.toml, /etc/thumbdrop/thumbdrop.toml.",
    )(command)


def json_option(command: Command) -> Command:
    """Add `--json`, passed on as `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")(command)


def load_settings(config: Path | None, overrides: dict[str, Any] | None = None) -> "Loaded":
    """Read the settings; the group turns a SettingsError into exit code 78."""
    from config.load import load  # noqa: PLC0415 - see watcher/cli.py

    return load(config, overrides=overrides)
