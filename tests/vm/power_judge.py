"""The judge of the power cuts: what stands on the disk, seen right after a cut and at the end, is whole and complete.

Reads files only. What a reader would get wrong: a file whose client did not sync it may be lost, or be cut short, while
it stands in the inbox; but from the moment that a manifest or a reason speaks of it, it is ours, and must be whole.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from running import path_in, source_path, visible_files

REASON = ".reason.json"


@dataclass(frozen=True)
class Drop:
    """A file as its client sent it; `fate` is "done" or the right reason."""

    content: bytes
    fate: str
    is_synced: bool

    @property
    def sha256(self) -> str:
        """Of its content, as hex."""
        return hashlib.sha256(self.content).hexdigest()


@dataclass
class Findings:
    """What stands there. `wrong` has a line for everything that must not be."""

    wrong: list[str] = field(default_factory=list)
    fates: Counter[str] = field(default_factory=Counter)  # of the files that were counted as dropped
    waiting: int = 0
    unfinished: int = 0  # thumbnails whose manifest is still to come
    lost_unsynced: int = 0


class Judge:
    """Looks at one state of the disk; `drop_of` knows every file ever sent, `counted` are those that were told of."""

    def __init__(self, library: Path, inbox: Path, drop_of: Callable[[str], Drop], counted: set[str]) -> None:
        self.found = Findings()
        self._library = library
        self._inbox = inbox
        self._drop_of = drop_of
        self._counted = counted

    def judge(self, *, at_the_end: bool) -> Findings:
        """Judge everything; at the end nothing may wait."""
        manifests = dict(self._records("manifests", ".json"))
        reasons = dict(self._records("quarantine", REASON))
        thumbnails = self._judge_thumbnails(manifests)
        self.found.unfinished = len(thumbnails)
        ended = dict.fromkeys(self._judge_originals(manifests), "done")
        ended |= self._judge_quarantine(reasons)
        standing = {str(file.relative_to(self._inbox)): file for file in visible_files(self._inbox)}
        self.found.waiting = len(standing)
        for path in sorted(self._counted):
            self._judge_drop(path, ended.get(path), standing.get(path), at_the_end=at_the_end)
        if at_the_end:
            self.found.wrong += [f"still in the inbox: {path}" for path in standing]
        return self.found

    def _records(self, folder: str, suffix: str) -> Iterator[tuple[Path, dict[str, Any]]]:
        for file in visible_files(self._library / folder):
            if file.name.endswith(suffix):
                try:
                    yield file, json.loads(file.read_bytes())
                except ValueError as error:
                    self._complain(file, f"is no JSON ({file.stat().st_size} bytes): {error}")

    def _judge_thumbnails(self, manifests: Mapping[Path, Mapping[str, Any]]) -> set[Path]:
        """Every thumbnail decodes and is what its manifest says; those that no manifest names."""
        found = set(visible_files(self._library / "thumbnails"))
        sizes = {file: self._size_of(file) for file in found}
        for manifest in manifests.values():
            for thumbnail in manifest["thumbnails"]:
                file = path_in(self._library, thumbnail, "path")
                if file not in found:
                    self._complain(file, "is in a manifest and not there")
                elif sizes[file] != (thumbnail["width"], thumbnail["height"], thumbnail["size_bytes"]):
                    self._complain(file, f"is {sizes[file]}, and its manifest says {thumbnail}")
                found.discard(file)
        return found

    def _size_of(self, file: Path) -> tuple[int, int, int] | None:
        size_bytes = file.stat().st_size
        try:
            with Image.open(file) as picture:
                picture.load()
                return picture.width, picture.height, size_bytes
        except (OSError, SyntaxError) as error:
            self._complain(file, f"does not decode ({size_bytes} bytes): {error}")
            return None

    def _judge_originals(self, manifests: Mapping[Path, Mapping[str, Any]]) -> Iterator[str]:
        """Every original is whole, and where its manifest says it is, or still in the inbox; the archived paths."""
        hashes = {file: _sha256(file) for file in visible_files(self._library / "originals")}
        named = set()
        for where, manifest in manifests.items():
            path = source_path(manifest)
            drop = self._drop_of(path)
            if manifest["sha256"] != drop.sha256:
                self._complain(where, "is about other bytes than were sent")
            original = path_in(self._library, manifest, "original") if manifest["original"] else None
            if original in hashes:
                named.add(original)
                if hashes[original] == drop.sha256:
                    yield path
                else:
                    self._complain(original, f"is not what was sent ({original.stat().st_size} bytes)")
            elif not self._stands(path, drop):
                self._complain(where, f"is there, but its original is neither at {original} nor whole in the inbox")
        for file in hashes.keys() - named:
            self._complain(file, "is an original that no manifest names")

    def _judge_quarantine(self, reasons: Mapping[Path, Mapping[str, Any]]) -> dict[str, str]:
        """Every file in quarantine is the one that its reason is about, and the reason is right; path to reason."""
        ended = {}
        about = {file.with_name(file.name.removesuffix(REASON)): reason for file, reason in reasons.items()}
        for file in visible_files(self._library / "quarantine"):
            if file.name.endswith(REASON):
                continue
            reason = about.get(file)
            if reason is None:
                self._complain(file, "is in quarantine without a reason")
                continue
            path = source_path(reason)
            drop = self._drop_of(path)
            found = _sha256(file)
            if reason["sha256"] is not None and reason["sha256"] != found:
                self._complain(file, f"is not what its reason is about ({file.stat().st_size} bytes)")
            elif found == drop.sha256 and reason["reason"] == drop.fate:
                ended[path] = drop.fate
            elif drop.is_synced or found == drop.sha256:
                self._complain(file, f"is in quarantine as {reason['reason']}, and should be {drop.fate}")
        return ended

    def _judge_drop(self, path: str, ended: str | None, standing: Path | None, *, at_the_end: bool) -> None:
        drop = self._drop_of(path)
        if ended is not None:
            self.found.fates[ended] += 1
        elif not drop.is_synced:
            if at_the_end or standing is None:
                self.found.lost_unsynced += 1
        elif at_the_end:
            self.found.wrong.append(f"not {drop.fate}: {path}")
        elif standing is None or _sha256(standing) != drop.sha256:
            self.found.wrong.append(f"lost: {path}, which its client had synced")

    def _stands(self, path: str, drop: Drop) -> bool:
        file = self._inbox / path
        return file.is_file() and _sha256(file) == drop.sha256

    def _complain(self, file: Path, what: str) -> None:
        self.found.wrong.append(f"{file.relative_to(self._library)} {what}")


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
