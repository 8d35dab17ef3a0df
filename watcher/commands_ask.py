"""The commands that report: status, why, check, config."""

# ruff: noqa: PLC0415 - see watcher/cli.py

import sys
from pathlib import Path

import click

from watcher.options import config_option, json_option, load_settings


@click.command()
@json_option
@config_option
def status(*, as_json: bool, config: Path | None) -> None:
    """Tell how all parts and inboxes do; exit code 1 when something is missing, offline or paused."""
    from watcher.printing import say_json, say_labelled
    from watcher.status import look_at_everything
    from watcher.status_text import status_lines

    found = look_at_everything(load_settings(config).settings)
    if as_json:
        say_json(found.as_json())
    else:
        for label, text, is_well in status_lines(found):
            say_labelled(label, text, is_well=is_well)
    sys.exit(1 if found.problems else 0)


@click.command()
@click.argument("path")
@json_option
@config_option
def why(path: str, *, as_json: bool, config: Path | None) -> None:
    """Tell the whole story of one file, be it in an inbox, in the library or gone.

    Exit code 1 when somebody has to do something about it.
    """
    from watcher.printing import say_json, say_labelled
    from watcher.story import tell
    from watcher.story_search import gather

    story = tell(gather(load_settings(config).settings, path))
    if as_json:
        say_json(story.as_json())
    else:
        say_labelled(story.state, story.path)
        for line in story.lines:
            say_labelled("", line)
    sys.exit(0 if story.is_fine else 1)


@click.command()
@json_option
@config_option
def check(*, as_json: bool, config: Path | None) -> None:
    """Check settings, directories, file systems, limits and servers; each failure comes with its remedy."""
    from watcher.checks import check_everything, check_for_services
    from watcher.printing import say_finding, say_json

    loaded = load_settings(config)
    findings = check_for_services(loaded) or check_everything(loaded.settings)
    if as_json:
        say_json([finding.as_json() for finding in findings])
    else:
        for finding in findings:
            say_finding(finding.verdict, finding.what, finding.remedy)
    sys.exit(1 if any(finding.verdict == "failed" for finding in findings) else 0)


@click.group()
def config() -> None:
    """Show the effective settings, or write a file to start from."""


@config.command("show")
@json_option
@config_option
def show(*, as_json: bool, config: Path | None) -> None:
    """Show every setting with its value and where that came from; passwords are masked."""
    from config import show as shown
    from watcher.printing import say, say_json

    loaded = load_settings(config)
    if as_json:
        say_json(shown.as_json(loaded))
        return
    rows = list(shown.rows(loaded))
    key_width = max(len(row.key) for row in rows)
    value_width = min(40, max(len(row.text) for row in rows))
    for row in rows:
        say(f"{row.key:<{key_width}}  {row.text:<{value_width}}  {row.origin}")


@config.command("init")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False), required=False)
def init(file: Path | None) -> None:
    """Write the annotated default settings to FILE, or to standard output; an existing file is left alone."""
    from config.show import annotated_default

    text = annotated_default()
    if file is None:
        sys.stdout.write(text)
        return
    try:
        with file.open("x", encoding="utf-8") as output:
            output.write(text)
    except FileExistsError:
        raise click.ClickException(f"{file} is there already; it was left as it is") from None
    except OSError as error:
        raise click.ClickException(f"could not write {file}: {error.strerror}") from error
