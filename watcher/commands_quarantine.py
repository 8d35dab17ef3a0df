"""`thumbdrop quarantine list|retry|drop`: look through what was set aside, give it another chance, or delete it.

What a reader would get wrong: FILE may be written as `list` prints it, as a path, or as the path that the file had in
its inbox, because people copy whichever they have at hand.
"""

# ruff: noqa: PLC0415 - see watcher/cli.py

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from watcher.options import config_option, json_option, load_settings

if TYPE_CHECKING:
    from config.settings import Settings
    from tasks.quarantine import Entry

FILES = click.argument("files", nargs=-1, metavar="[FILE]...")


@click.group()
def quarantine() -> None:
    """Look through the files that could not become thumbnails."""


@quarantine.command("list")
@json_option
@config_option
def list_entries(*, as_json: bool, config: Path | None) -> None:
    """List what is in quarantine, the newest first."""
    from tasks.quarantine import Quarantine
    from watcher.printing import say, say_json

    settings = load_settings(config).settings
    entries = sorted(Quarantine(settings).entries(), key=lambda one: one.finding.quarantined_at, reverse=True)
    if as_json:
        say_json([_as_json(settings, entry) for entry in entries])
        return
    for entry in entries:
        finding = entry.finding
        place = entry.path.removeprefix("quarantine/")
        say(f"{finding.quarantined_at}  {finding.reason:<18}  {place}: {finding.message}")


@quarantine.command("retry")
@FILES
@click.option("--all", "everything", is_flag=True, help="Retry all files in quarantine.")
@config_option
def retry(*, files: Sequence[str], everything: bool, config: Path | None) -> None:
    """Put files back into their inbox under their own name, to be tried again."""
    from redis import RedisError

    from tasks.errors import IngestError
    from tasks.quarantine import Quarantine, RetryRefusedError
    from watcher.asking import explain
    from watcher.printing import say

    settings = load_settings(config).settings
    failed = False
    for entry in _chosen(settings, files, everything=everything):
        source = entry.finding.source
        try:
            inbox = settings.inbox_named(source.inbox)
            if not entry.has_file:
                _forget_kept(settings, entry)
            Quarantine(settings).retry(entry, inbox.path)
        except KeyError:
            failed = True
            say(f"{entry.path}: there is no inbox {source.inbox} any more", stderr=True)
        except (RetryRefusedError, IngestError, RedisError) as error:
            failed = True
            say(f"{entry.path}: {explain(error)}", stderr=True)
        else:
            say(f"{source.path} is back in the inbox {source.inbox}")
    sys.exit(1 if failed else 0)


@quarantine.command("drop")
@FILES
@click.option("--all", "everything", is_flag=True, help="Delete all files in quarantine.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@config_option
def drop(*, files: Sequence[str], everything: bool, yes: bool, config: Path | None) -> None:
    """Delete files from quarantine, with their reasons."""
    from tasks.quarantine import Quarantine
    from watcher.printing import say
    from watcher.wording import counted

    settings = load_settings(config).settings
    entries = _chosen(settings, files, everything=everything)
    if entries and not yes:
        click.confirm(f"Delete {counted(len(entries), 'file')} for ever?", abort=True)
    for entry in entries:
        Quarantine(settings).drop(entry)
        say(f"{entry.path} is deleted")


def _chosen(settings: "Settings", files: Sequence[str], *, everything: bool) -> "list[Entry]":
    from tasks.quarantine import Quarantine
    from watcher.printing import say

    if bool(files) == everything:
        raise click.UsageError("name files, or give --all")
    entries = list(Quarantine(settings).entries())
    if everything:
        return entries
    chosen, missing = [], []
    for file in files:
        meant = [entry for entry in entries if _means(settings, file, entry)]
        chosen += [entry for entry in meant if entry not in chosen]
        missing += [] if meant else [file]
    for file in missing:
        say(f"{file} is not in quarantine; `thumbdrop quarantine list` shows what is", stderr=True)
    if missing:
        sys.exit(1)
    return chosen


def _means(settings: "Settings", file: str, entry: "Entry") -> bool:
    """Whether a file as somebody typed it is this entry."""
    source = entry.finding.source
    ways = {entry.path, entry.path.removeprefix("quarantine/"), os.path.join(settings.library.path, entry.path)}
    ways |= {os.path.join(inbox.path, source.path) for inbox in settings.inbox if inbox.name == source.inbox}
    typed = file.removesuffix(".reason.json")
    return typed in ways or os.path.realpath(typed) in ways


def _forget_kept(settings: "Settings", entry: "Entry") -> None:
    """Let the watcher look again at a file that stayed in its inbox; away, Redis remembers nothing of it either."""
    from config.urls import connect, results_url
    from tasks.leases import Leases

    with connect(results_url(settings), 3.0) as redis:
        Leases(redis, settings.limits.task_time_seconds).reconsider(entry.finding.source)


def _as_json(settings: "Settings", entry: "Entry") -> dict[str, object]:
    from dataclasses import asdict

    path = str(settings.library.path / entry.path)
    return {"file": path if entry.has_file else None, "reason_file": f"{path}.reason.json", **asdict(entry.finding)}
