"""Mistakes in settings, in plain words: which key, which value stands there, and what is allowed.

Translates pydantic's findings, so that nobody who writes a TOML file has to learn its jargon. Passwords never reach a
message: every value that looks like an address is shown with `***`, and values of keys nobody knows are not trusted.
"""

import difflib
import re
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from config.addresses import masked
from config.logs import printable
from config.settings import Settings
from config.tree import quoted
from config.values import in_toml

# Keys and indexes on the way to a value, as pydantic gives them.
Where = tuple[str | int, ...]

_SHOWN_LETTERS = 120

# pydantic's types of errors, in words; {} names come from its context.
_WORDS = {
    "missing": "this key must be there",
    "string_type": "text in quotes",
    "int_type": "a whole number, without quotes",
    "float_type": "a number, without quotes",
    "finite_number": "a number, not inf or nan",
    "bool_type": "true or false, without quotes",
    "greater_than_equal": "at least {ge}",
    "greater_than": "more than {gt}",
    "less_than_equal": "at most {le}",
    "string_too_short": "text that is not empty",
    "tuple_type": "a list in brackets, also for a single entry",
    "model_type": "a table of keys and values",
    "model_attributes_type": "a table of keys and values",
}
# Where the shape is wrong, an example of this very key says more than the rule.
_SHAPES = {
    "inbox": "tables that begin with [[inbox]], in two brackets",
    "category.rule": "tables that begin with [[category.rule]], in two brackets",
    "thumbnails.sizes": 'a list of boxes like "640x640" or tables like { size = "640x640", fit = "cover" }',
}


@dataclass(frozen=True, slots=True)
class Mistake:
    """One thing that is wrong: key (`inbox[0].settle`), value as in TOML ("" where none is there), what is allowed.

    `origin` says where the value came from ("" when it is nowhere): "file /path", "environment THUMBDROP_BROKER_URL" ...
    """

    key: str
    value: str
    allowed: str
    origin: str = ""

    def __str__(self) -> str:
        what = f"{self.key} = {self.value}" if self.value else self.key
        return printable(f"{what}: {self.allowed}" + (f" ({self.origin})" if self.origin else ""))


EXIT_WRONG_SETTINGS = 78  # EX_CONFIG of sysexits.h; systemd does not restart on it


class SettingsError(Exception):
    """The settings cannot be used; `mistakes` has every one of them, and the text a line for each."""

    def __init__(self, mistakes: tuple[Mistake, ...]) -> None:
        super().__init__(mistakes)
        self.mistakes = mistakes

    def __str__(self) -> str:
        return "\n".join(str(mistake) for mistake in self.mistakes)


def mistakes_in(error: ValidationError, tree: Mapping[str, Any]) -> list[tuple[Where, Mistake]]:
    """What pydantic found in `tree`, each with the place that is to be cut out to go on without it."""
    found: dict[Where, Mistake] = {}
    for details in error.errors(include_url=False):
        where = _where_it_stands(details["loc"], tree)
        found.setdefault(where, _mistake(where, details))
    return list(found.items())


def key_of(where: Where) -> str:
    """`inbox[0].settle` for ("inbox", 0, "settle")."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{quoted(part)}" for part in where).removeprefix(".")


def shown(value: Any) -> str:
    """A value as in TOML, without passwords, cut to a line."""
    text = in_toml(_without_passwords(value))
    return printable(text if len(text) <= _SHOWN_LETTERS else text[:_SHOWN_LETTERS] + "...")


def _without_passwords(value: Any) -> Any:
    if isinstance(value, str):
        return masked(value)
    if isinstance(value, dict):
        return {key: "***" if _is_secret(key) else _without_passwords(inner) for key, inner in value.items()}
    return [_without_passwords(inner) for inner in value] if isinstance(value, list | tuple) else value


def _is_secret(key: str) -> bool:
    return bool(re.search(r"pass|secret|token|credential", key, re.IGNORECASE))


def _where_it_stands(loc: Where, tree: Any) -> Where:
    """The place in the file that pydantic means: a size written as text has no keys of its own."""
    for depth, part in enumerate(loc):
        if isinstance(tree, dict):
            tree = tree.get(part, {})
        elif isinstance(tree, list) and isinstance(part, int):
            tree = tree[part]
        else:
            return loc[:depth]
    return loc


def _mistake(where: Where, details: ErrorDetails) -> Mistake:
    key = key_of(where)
    if details["type"] == "extra_forbidden":
        value = "***" if _is_secret(str(where[-1])) else shown(details["input"])
        return Mistake(key, value, f"there is no such key{_suggestion(where)}")
    value = "" if details["type"] == "missing" else shown(details["input"])
    return Mistake(key, value, _allowed(key, details))


def _allowed(key: str, details: ErrorDetails) -> str:
    context = details.get("ctx", {})
    if details["type"] == "value_error":
        return str(context["error"])
    if details["type"] == "literal_error":
        return f"one of {context['expected']}".replace("'", '"')
    is_shape = details["type"] in {"tuple_type", "model_type", "model_attributes_type"}
    shape = _SHAPES.get(re.sub(r"\[\d+\]$", "", key)) if is_shape else None
    return shape or _WORDS.get(details["type"], details["msg"]).format(**context)


def _suggestion(where: Where) -> str:
    """The nearest known key: in the same table if one is near, else the same word in another table."""
    word = str(where[-1])
    section = _section_at(where[:-1])
    near = difflib.get_close_matches(word, _keys(section), n=1)
    if near:
        return f"; did you mean {near[0]}?"
    elsewhere = [key for key in _all_keys(Settings) if key.rpartition(".")[2] == word]
    return f"; did you mean {' or '.join(elsewhere)}?" if elsewhere else f"; known here: {', '.join(_keys(section))}"


def _keys(section: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in section.model_fields.items()]


def _all_keys(section: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for key, field in zip(_keys(section), section.model_fields.values(), strict=True):
        inner = _section_in(field.annotation)
        if inner is None:
            yield prefix + key
        else:
            is_list = typing.get_origin(field.annotation) is tuple
            yield from _all_keys(inner, f"{prefix}{key}{'[]' if is_list else ''}.")


def _section_at(where: Where) -> type[BaseModel]:
    section: type[BaseModel] = Settings
    for part in where:
        if isinstance(part, str):
            field = list(section.model_fields.values())[_keys(section).index(part)]
            section = _section_in(field.annotation) or section
    return section


def _section_in(annotation: Any) -> type[BaseModel] | None:
    """The table that a field holds, one or a list of them; None for a plain value."""
    for kind in (annotation, *typing.get_args(annotation)):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return kind
    return None
