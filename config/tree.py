"""The settings as a plain tree, as TOML has them: tables in tables, keys like `inbox[0].settle`, one tree over another.

Pure; the values may be wrong, even in their kind, because trees are merged before anything is checked.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

# Lists of tables, whose entries have keys of their own; every other list is one value.
_TABLE_LISTS = ("inbox", "category.rule")


def leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every key with its value, in the order of the tree; None stands for "not given"."""
    for name, value in tree.items():
        key = f"{prefix}{quoted(name)}"
        if isinstance(value, Mapping):
            yield from leaves(value, f"{key}.")
        elif key in _TABLE_LISTS and _are_tables(value):
            for index, table in enumerate(value):
                yield from leaves(table, f"{key}[{index}].")
        elif value is not None:
            yield key, value


def quoted(name: str) -> str:
    """A part of a key, in quotes where TOML needs them."""
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else json.dumps(name, ensure_ascii=False)


def _are_tables(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(entry, Mapping) for entry in value)


def without_none(tree: Any) -> Any:
    """The tree without keys that are None, which TOML cannot write."""
    if isinstance(tree, Mapping):
        return {key: without_none(value) for key, value in tree.items() if value is not None}
    return [without_none(value) for value in tree] if isinstance(tree, list | tuple) else tree


class Layers:
    """Trees laid over one another: the merged tree, and the origin of each leaf (also of some that were replaced)."""

    def __init__(self) -> None:
        self.tree: dict[str, Any] = {}
        self.origins: dict[str, str] = {}

    def add(self, tree: Mapping[str, Any], origin: str) -> None:
        """Lay a tree over the others: tables are merged, everything else is replaced, None leaves what is there."""
        _merge(self.tree, without_none(tree))
        self.origins |= {key: origin for key, _ in leaves(tree)}

    def origin_of(self, key: str) -> str:
        """Where the value of a key came from; else where its table did; "" when neither is anywhere."""
        for near in (key, key.rpartition(".")[0]):
            for leaf, where in self.origins.items():
                if near and (leaf.startswith(near) or near.startswith(leaf)):
                    return where
        return ""


def _merge(under: dict[str, Any], over: Mapping[str, Any]) -> None:
    for key, value in over.items():
        if isinstance(value, Mapping) and isinstance(under.setdefault(key, {}), dict):
            _merge(under[key], value)
        elif not isinstance(value, Mapping):  # else: a plain value where a table belongs stays, to be complained about
            under[key] = value
