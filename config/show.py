"""Settings written down again: as rows with their origin for a reader, as JSON, as a TOML file for another process.

Pure. What a reader would get wrong: rows and JSON hide passwords, the TOML file has to hold them, so it is written
with mode 0600 by whoever writes it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import tomli_w

from config.addresses import masked
from config.load import Loaded
from config.settings import Settings
from config.tree import leaves
from config.values import in_toml

_ADDRESSES = ("broker.url", "results.url")


@dataclass(frozen=True, slots=True)
class Row:
    """One key with its effective value in TOML's kinds (text, number, true or false, list) and its origin."""

    key: str
    value: Any
    origin: str

    @property
    def text(self) -> str:
        """The value as it would stand in the file."""
        return in_toml(self.value)


def rows(loaded: Loaded) -> Iterator[Row]:
    """Every key in the order of the file, passwords masked."""
    for key, value in leaves(loaded.settings.as_written()):
        yield Row(key, masked(value) if key in _ADDRESSES else value, loaded.origins[key])


def as_json(loaded: Loaded) -> dict[str, Any]:
    """`{"file": ..., "settings": {tree in the file's notation}, "origins": {key: origin}}`, passwords masked."""
    tree = loaded.settings.as_written()
    for section in ("broker", "results"):
        tree[section]["url"] = masked(tree[section]["url"])
    return {"file": str(loaded.file) if loaded.file else None, "settings": tree, "origins": loaded.origins}


def to_toml(settings: Settings) -> str:
    """A TOML file that `load` reads back to equal settings; it holds passwords as they are."""
    return tomli_w.dumps(settings.as_written())


def annotated_default() -> str:
    """The annotated file to start from (`thumbdrop config init`), with every key, its default and its reason."""
    return files("config").joinpath("thumbdrop.toml").read_text("utf-8")
