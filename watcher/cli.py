"""The command `thumbdrop`: what can be typed, and which exit code comes out.

Thin on purpose: a command reads the settings, calls the module that does the work and prints. What a reader would get
wrong: the imports stand inside the commands, so that `thumbdrop --help` is there at once and no command loads what only
another one needs.
"""

import sys
from typing import Any

import click

from watcher.commands_ask import check, config, status, why
from watcher.commands_quarantine import quarantine
from watcher.commands_run import scan, up, watch, worker

FOUND_SOMETHING_WRONG = 1


class _Commands(click.Group):
    """Turns the errors that an operator can mend into their text and exit code; anything else is a bug's traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        from config.mistakes import EXIT_WRONG_SETTINGS, SettingsError  # noqa: PLC0415 - pydantic takes longer to load than --help to print
        from tasks.errors import IngestError  # noqa: PLC0415
        from watcher.embedded import EmbeddedError  # noqa: PLC0415

        try:
            return super().invoke(ctx)
        except SettingsError as error:
            click.echo(str(error), err=True)
            sys.exit(EXIT_WRONG_SETTINGS)
        except EmbeddedError as error:
            click.echo(f"thumbdrop: {error}", err=True)
            sys.exit(FOUND_SOMETHING_WRONG)
        except IngestError as error:
            click.echo(f"thumbdrop: {error.message}\nto do: {error.hint}", err=True)
            sys.exit(FOUND_SOMETHING_WRONG)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="thumbdrop")
def main() -> None:
    """Drop photos into a folder; thumbnails stand in the library seconds later.

    Exit codes: 0 fine, 1 found something wrong, 2 wrong usage, 78 wrong settings.
    """


for _command in (up, watch, worker, scan, status, why, quarantine, check, config):
    main.add_command(_command)


if __name__ == "__main__":
    main(prog_name="thumbdrop")
