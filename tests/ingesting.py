"""Bring a file into a library as the worker does, but with bytes in place of pixels; as a program, for tests that kill it.

python ingesting.py LIBRARY INBOX PATH       (PATH in hex, because arguments are UTF-8 and names need not be)
"""

import os
import stat
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from config.settings import LibrarySettings
from tasks.facts import ImageFacts
from tasks.library import Library
from tasks.manifest import Manifest
from tasks.messages import Arrival
from tasks.recipe import WantedSize
from tasks.source import Source, open_source
from tasks.together import Steps, Together, Value

INBOX = "inbox"
RECIPE = "0123456789abcdef"
SIZES = (WantedSize(640, 640, "contain", "jpeg", 82), WantedSize(200, 200, "cover", "webp", 80))
FACTS = ImageFacts("jpeg", 4000, 3000, 6, "2024-05-06T07:08:09", "Apple iPhone 15", 1)


@dataclass(frozen=True, slots=True)
class Made:
    """A thumbnail without pixels."""

    size: WantedSize
    width: int
    height: int
    content: bytes


def library_settings(path: Path, **keys: Any) -> LibrarySettings:
    """The [library] section, with TOML keys and values, and no demand for free space."""
    path.mkdir(exist_ok=True)
    return LibrarySettings.model_validate({"path": path, "min_free": "1B"} | keys)


def arrival_of(inbox: Path, path: str) -> Arrival:
    """The arrival that the watcher would announce."""
    facts = os.lstat(inbox / path)
    return Arrival(INBOX, path, facts.st_size, facts.st_mtime_ns)


def renditions_of(content: bytes, sizes: tuple[WantedSize, ...] = SIZES) -> tuple[Made, ...]:
    """Thumbnails that differ by content and by size."""
    return tuple(Made(size, size.width, size.height // 2, size.label.encode() + content) for size in sizes)


def manifest_of(arrival: Arrival, sha256: str, recipe: str = RECIPE) -> Manifest:
    """A manifest as the worker hands it to the library."""
    return Manifest(sha256, arrival, FACTS, recipe, "2024-05-06T07:08:10Z", 42)


def carried_out(library: Library, steps: Steps[Value]) -> Value:
    """Do something with the library in all its steps; what it returns."""
    found: list[Value] = []

    def all_of_it() -> Steps[None]:
        found.append((yield from steps))

    together = Together(library.sync)
    together.begin(all_of_it())
    together.finish()
    return found[0]


def publish(library: Library, inbox: Path, source: Source, category: str = "beach") -> str:
    """The worker's steps up to the commit, with the original announced; the slot."""
    arrival, sha256 = arrival_of(inbox, source.path), source.sha256()
    slot = library.slot_for(arrival, category, sha256)
    standing = library.manifest(slot)
    if standing is not None and standing.sha256 == sha256 and library.is_complete(standing, RECIPE):
        library.adopt(slot, arrival, sha256)
    else:
        manifest, renditions = manifest_of(arrival, sha256), renditions_of(source.file.read())
        carried_out(library, library.publish(slot, manifest, renditions, source))
    return slot


def ingest(library: Library, inbox: Path, path: str, category: str = "beach") -> tuple[str, str | None]:
    """All the worker's steps; (slot, where the original stands now)."""
    with open_source(inbox, path) as source:
        slot = publish(library, inbox, source, category)
        return slot, carried_out(library, library.archive(slot, source))


def tree_of(root: Path, *, hidden: bool = False) -> dict[str, bytes]:
    """Every regular file below a directory with its content, by relative path; hidden ones only on demand."""
    found = {str(path.relative_to(root)): path for path in root.rglob("*") if stat.S_ISREG(os.lstat(path).st_mode)}
    visible = {name: path for name, path in found.items() if hidden or not any(p[0] == "." for p in name.split("/"))}
    return {name: path.read_bytes() for name, path in sorted(visible.items())}


if __name__ == "__main__":
    ingest(Library(library_settings(Path(sys.argv[1]))), Path(sys.argv[2]), os.fsdecode(bytes.fromhex(sys.argv[3])))
