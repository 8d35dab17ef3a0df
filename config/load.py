"""Loading the settings: layers are merged, paths made absolute, everything checked, every mistake reported at once.

Later layers win: defaults, the file, systemd credentials, the environment, the command line. What a reader would get
wrong: paths are relative to the directory of the file that was read, also the default ones, so that the same file
means the same library wherever a command is typed.
"""

import copy
import dataclasses
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from config.checks import cross_mistakes
from config.mistakes import Mistake, SettingsError, Where, mistakes_in
from config.names import inbox_name_from
from config.read import candidates, read_first, secrets
from config.resolve import resolved
from config.settings import Settings
from config.tree import Layers, leaves

__all__ = ["Loaded", "Mistake", "SettingsError", "load"]


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings that can be used; the origin of every key; the file, absolute, if one was read.

    Origins are "default", "file /path", "credential", "environment NAME" and "command line".
    """

    settings: Settings
    origins: dict[str, str]
    file: Path | None


def load(
    file: Path | None = None,
    environ: Mapping[str, str] = os.environ,
    overrides: Mapping[str, Any] | None = None,
) -> Loaded:
    """Read, merge and check the settings; every path in them is absolute and free of symbolic links.

    `file` has to be there when given. `overrides` has the shape of the TOML file; its lists replace whole lists, None
    in it means "not given", its paths are relative to the working directory.
    Raises SettingsError with every mistake, which is the operator's.
    """
    found, tree = read_first(candidates(file, environ))
    base = found.parent if found else Path.cwd()
    layers = Layers()
    layers.add(_state_of_unit(environ), "environment STATE_DIRECTORY")
    layers.add(_anchored(tree, base), f"file {found}")
    for secret, origin in secrets(environ):
        layers.add(secret, origin)
    layers.add(_anchored(overrides or {}, Path.cwd()), "command line")
    _fill_in_places(layers.tree, base)
    settings = _checked(layers)
    origins = {key: layers.origins.get(key, "default") for key, _ in leaves(settings.as_written())}
    return Loaded(settings, origins, found)


def _state_of_unit(environ: Mapping[str, str]) -> dict[str, Any]:
    """The first state directory that systemd made for the unit (systemd.exec(5): separated by colons)."""
    directory = environ.get("STATE_DIRECTORY", "").split(":")[0]
    return {"state": {"path": directory}} if directory else {}


def _anchored(tree: Mapping[str, Any], base: Path) -> dict[str, Any]:
    anchored = copy.deepcopy(dict(tree))
    for table in _places(anchored):
        if _is_path(table.get("path")):
            table["path"] = os.path.join(base, table["path"])
    return anchored


def _fill_in_places(tree: dict[str, Any], base: Path) -> None:
    """Give every place its path and every inbox its name; names come first, since they are the links' own."""
    for inbox in _tables(tree.setdefault("inbox", [{}])):
        inbox.setdefault("path", str(base / "inbox"))
        if _is_path(inbox["path"]) and inbox.get("name", "") == "":
            inbox["name"] = inbox_name_from(inbox["path"])
    for library in _tables([tree.setdefault("library", {})]):
        library.setdefault("path", str(base / "library"))
        for state in _tables([tree.setdefault("state", {})]):
            if _is_path(library["path"]):
                state.setdefault("path", os.path.join(library["path"], ".thumbdrop"))
    for table in _places(tree):
        if _is_path(table.get("path")):
            table["path"] = resolved(os.fspath(table["path"]))


def _places(tree: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The tables whose `path` is a directory (that of a category rule is a glob)."""
    yield from _tables(tree.get("inbox"))
    yield from _tables([tree.get("library"), tree.get("state")])


def _tables(entries: Any) -> list[dict[str, Any]]:
    return [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []


def _is_path(value: Any) -> bool:
    """Whether a value can be made absolute; others stay as they are, for their field to complain about."""
    return isinstance(value, str | Path) and str(value) != "" and "\0" not in str(value) and str(value)[0] != "~"


def _checked(layers: Layers) -> Settings:
    """The settings, or SettingsError with what is wrong in itself and what does not fit together."""
    settings, mistakes = _validated(layers.tree)
    wrong = [mistake.key for mistake in mistakes]

    def is_wrong(key: str) -> bool:
        return any(key == one or key.startswith((f"{one}.", f"{one}[")) for one in wrong)

    mistakes += cross_mistakes(settings, is_wrong)
    if mistakes:
        raise SettingsError(tuple(dataclasses.replace(one, origin=layers.origin_of(one.key)) for one in mistakes))
    return settings


def _validated(tree: dict[str, Any]) -> tuple[Settings, list[Mistake]]:
    """The settings with defaults in the place of what is wrong, so that all the rest can be checked further."""
    try:
        return Settings.model_validate(tree), []
    except ValidationError as error:
        found = mistakes_in(error, tree)
    sound = copy.deepcopy(tree)
    for where, _ in found:
        _cut_out(sound, where)
    return Settings.model_validate(sound), [mistake for _, mistake in found]


def _cut_out(tree: dict[str, Any], where: Where) -> None:
    """Remove a key, or the whole list that it is in: without one of its entries the others would have other numbers.

    Inboxes can spare single keys, since all of theirs have defaults.
    """
    in_inbox = where[0] == "inbox" and len(where) > 2
    path = where[:3] if in_inbox else tuple(takewhile(lambda part: isinstance(part, str), where))
    table: Any = tree
    for part in path[:-1]:
        table = table.get(part, {}) if isinstance(table, dict) else table[part]
    table.pop(path[-1], None)
