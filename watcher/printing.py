"""Printing for people and for scripts: colours on a terminal, plain lines into a pipe, JSON when asked for.

The one place where text reaches the terminal: all of it is made printable here, because names come from strangers.
What a reader would get wrong: rich would fold long lines at the terminal's width, and paths would no longer be
copied whole, so folding is off.
"""

import json
import sys
from typing import Any

from rich.console import Console
from rich.text import Text

from config.logs import printable

_LABEL_WIDTH = 12
_PART_STYLES = {"up": "bold green", "watcher": "cyan", "worker": "magenta", "beat": "blue", "redis": "yellow"}


def console(*, stderr: bool = False) -> Console:
    """Make a console that marks nothing by itself; it writes no colours unless to a terminal."""
    return Console(stderr=stderr, highlight=False, markup=False, emoji=False, soft_wrap=True)


def say(text: str, style: str = "", *, stderr: bool = False) -> None:
    """Print one line."""
    console(stderr=stderr).print(Text(printable(text), style=style))


def say_labelled(label: str, text: str, *, is_well: bool = True) -> None:
    """Print a line with a label before it; what is not well in red."""
    styled = Text(f"{printable(label):<{_LABEL_WIDTH}} ", style="bold" if is_well else "bold red")
    styled.append(printable(text), style="" if is_well else "red")
    styled.rstrip()
    console().print(styled)


def say_json(document: Any) -> None:
    """Print a JSON document in ASCII, so that a name with any bytes in it is safe and survives."""
    sys.stdout.write(json.dumps(document, indent=2, default=str) + "\n")


class Lines:
    """The lines of `thumbdrop up`: each with the name of the part that said it.

    A terminal that has gone away is no reason to stop the work: then nothing is printed any more.
    """

    def __init__(self) -> None:
        self._console: Console | None = console()

    def say(self, part: str, line: str) -> None:
        """Print one line of a part; empty ones, which Celery likes, are left out."""
        if not line.strip():
            return
        try:
            if self._console:
                self._print(self._console, f"{part:<7} ", _PART_STYLES.get(part, ""), printable(line))
                sys.stdout.flush()
        except OSError:
            self._console = None

    def _print(self, console: Console, part: str, style: str, line: str) -> None:
        if console.is_terminal:
            console.print(Text(part, style=style).append(line, style="default"))
        else:  # the same, ten times faster: there is a line for each image
            sys.stdout.write(f"{part}{line}\n")


_VERDICT_STYLES = {"ok": "green", "note": "cyan", "warning": "yellow", "failed": "bold red"}


def say_finding(verdict: str, what: str, remedy: str) -> None:
    """Print one line of `thumbdrop check`, and below it what to do."""
    console().print(Text(f"{verdict:<8} ", style=_VERDICT_STYLES[verdict]).append(printable(what), style="default"))
    if remedy:
        say(f"{'':<8} to do: {remedy}")
