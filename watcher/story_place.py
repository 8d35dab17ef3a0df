"""Which file somebody means with `thumbdrop why PATH`: one in an inbox, or one in the library.

Looks at as little as possible: a path is matched as it was typed, then with its directory's links resolved (inbox
paths are free of links). What a reader would get wrong: the file's own name is never resolved, it may be a link.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from config.settings import Settings


@dataclass(frozen=True, slots=True)
class InInbox:
    """A path below an inbox."""

    inbox: str
    path: str


@dataclass(frozen=True, slots=True)
class InLibrary:
    """A path below the library, relative to it."""

    path: str


Place = InInbox | InLibrary


def places(settings: Settings, asked: str, cwd: str) -> list[Place]:
    """List what a path may mean, the likeliest first; empty when it leads nowhere of ours.

    A relative path is meant relative to `cwd` first, then relative to each inbox.
    """
    absolute = os.path.normpath(os.path.join(cwd, asked))
    found = [*_at(settings, absolute), *_at(settings, _resolved(absolute))]
    relative = os.path.normpath(asked)
    if not found and not os.path.isabs(asked) and not relative.startswith(".."):
        found = [InInbox(inbox.name, relative) for inbox in settings.inbox]
    return list(dict.fromkeys(found))


def slot_of(path: str) -> str | None:
    """Tell the slot that a file of the library belongs to by its name; None for other files.

    `thumbnails/<category>/<W>x<H>/<stem>_<W>x<H>.<ext>`, `originals/<category>/<stem>.<suffix>`,
    `manifests/<category>/<stem>.json`.
    """
    tree, *folders, name = path.split("/")
    stem = os.path.splitext(name)[0]
    if tree == "thumbnails" and len(folders) > 1:
        *folders, box = folders
        return "/".join([*folders, stem.removesuffix(f"_{box}")])
    if tree in ("originals", "manifests") and folders:
        return "/".join([*folders, stem])
    return None


def quarantined_of(path: str) -> InInbox | None:
    """Tell which file of an inbox a file in quarantine was, by its place there."""
    tree, *rest = path.split("/")
    if tree != "quarantine" or len(rest) < 2:
        return None
    return InInbox(rest[0], "/".join(rest[1:]).removesuffix(".reason.json"))


def _at(settings: Settings, absolute: str) -> Iterator[Place]:
    for inbox in settings.inbox:
        relative = _below(absolute, inbox.path)
        if relative:
            yield InInbox(inbox.name, relative)
    relative = _below(absolute, settings.library.path)
    if relative:
        yield InLibrary(relative)


def _below(absolute: str, root: Path) -> str:
    prefix = os.path.join(os.fspath(root), "")
    return absolute.removeprefix(prefix) if absolute.startswith(prefix) else ""


def _resolved(absolute: str) -> str:
    folder, name = os.path.split(absolute)
    return os.path.join(os.path.realpath(folder), name)
