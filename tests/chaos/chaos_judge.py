"""The judge of the chaos test: compares what stands in library and inboxes with what must be there. Reads files only.

What a reader would get wrong: nothing that Thumbdrop says of itself is believed but the manifests and reason files that
are being judged; every file that is visible has to be explained by one of them, and every hidden one is a leftover.
"""

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from chaos_files import Picture, mean_colour
from chaos_plan import Expected, Slot, sha256
from running import fitted, manifests_in, path_in, reasons_in, source_path, visible_files

BOXES = {"48x48": (48, 48), "16x16": (16, 16)}
_COLOUR_TOLERANCE = 16.0  # of 255: JPEG, and the small size
_MARK_DIGITS = (8, 16, 32, 64)
# Hidden and meant to stay: the state directory, and the memory of sources.
_OURS = (".thumbdrop", "manifests/.by-source")


@dataclass
class Verdict:
    """What was found, a line each. All lists are empty when all is well.

    lost: not where it must be; wrong: there, but not as it must be; doubled: there twice; stray: what nobody asked for;
    unfinished: still in an inbox.
    """

    lost: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    stray: list[str] = field(default_factory=list)
    unfinished: list[str] = field(default_factory=list)
    committed: dict[Slot, float] = field(default_factory=dict)  # when each manifest was written, Unix time

    @property
    def counts(self) -> dict[str, int]:
        """How many of each."""
        return {name: len(getattr(self, name)) for name in ("lost", "wrong", "doubled", "stray", "unfinished")}

    @property
    def complaints(self) -> list[str]:
        """Every finding."""
        return [f"{name}: {line}" for name in self.counts for line in getattr(self, name)]


def judge(library: Path, inboxes: Mapping[str, Path], expected: Expected) -> Verdict:
    """Judge what is there after all work has ended and housekeeping has been done."""
    return _Judge(library, inboxes, expected).judge()


class _Judge:
    def __init__(self, library: Path, inboxes: Mapping[str, Path], expected: Expected) -> None:
        self._library = library
        self._inboxes = inboxes
        self._expected = expected
        self._verdict = Verdict()
        self._explained: Counter[Path] = Counter()

    def judge(self) -> Verdict:
        self._look_at_images()
        self._look_at_quarantine()
        self._look_for_strays()
        for name, root in self._inboxes.items():
            left = self._left_in(root) if name == "kept" else sorted(root.rglob("*"))
            self._verdict.unfinished += [f"{name}/{os.fspath(path.relative_to(root))!r}" for path in left]
        return self._verdict

    def _left_in(self, root: Path) -> list[Path]:
        """What is in the inbox whose files stay and should not be; each that stays has to be as it was dropped."""
        found = {os.fspath(path.relative_to(root)): path for path in root.rglob("*") if not path.is_dir()}
        for path, content in self._expected.kept.items():
            if path not in found:
                self._verdict.lost.append(f"kept file {path!r}")
            elif found[path].read_bytes() != content:
                self._verdict.wrong.append(f"kept file {path!r} is not what was dropped")
        hidden = [path for path in root.rglob(".*") if path.is_dir()]
        return hidden + [found[path] for path in sorted(found.keys() - self._expected.kept.keys())]

    # -- images

    def _look_at_images(self) -> None:
        found: dict[Slot, list[str]] = {}
        for slot, manifest in manifests_in(self._library).items():
            self._explain(self._library / "manifests" / f"{slot}.json")
            key = self._key(slot, manifest)
            if key is None:
                self._verdict.wrong.append(f"manifest {slot!r} is of content that nobody dropped there")
            else:
                found.setdefault(key, []).append(slot)
                self._look_at_image(slot, manifest, key)
        self._verdict.doubled += [f"{slots} have one content" for slots in found.values() if len(slots) > 1]
        self._verdict.lost += [f"image {key[0]}/{key[1]!r}" for key in sorted(self._expected.required - found.keys())]

    def _key(self, slot: str, manifest: Mapping[str, Any]) -> Slot | None:
        category, _, stem = slot.rpartition("/")
        content = manifest["sha256"]
        marks = [f"~{content[:digits]}" for digits in _MARK_DIGITS]
        plain = [stem, *(stem.removesuffix(mark) for mark in marks if stem.endswith(mark))]
        return next((key for one in plain if (key := (category, one, content)) in self._expected.images), None)

    def _look_at_image(self, slot: str, manifest: Mapping[str, Any], key: Slot) -> None:
        picture = self._expected.images[key]
        file = self._library / "manifests" / f"{slot}.json"
        self._verdict.committed[key] = file.stat().st_mtime
        self._verdict.wrong += [f"{slot!r}: {line}" for line in self._complaints(manifest, key, picture)]

    def _complaints(self, manifest: Mapping[str, Any], key: Slot, picture: Picture) -> Iterator[str]:
        image = manifest["image"]
        if (image["width"], image["height"]) != (picture.width, picture.height):
            yield f"the manifest says {image['width']}x{image['height']} for {picture.width}x{picture.height}"
        if manifest["category"] != key[0]:
            yield f"the manifest says category {manifest['category']!r}"
        if sorted(thumbnail["box"] for thumbnail in manifest["thumbnails"]) != sorted(BOXES):
            yield f"it has the sizes {[thumbnail['box'] for thumbnail in manifest['thumbnails']]}"
        for thumbnail in manifest["thumbnails"]:
            yield from self._complaints_about_thumbnail(thumbnail, picture)
        yield from self._complaints_about_original(manifest, key, picture)

    def _complaints_about_thumbnail(self, thumbnail: Mapping[str, Any], picture: Picture) -> Iterator[str]:
        file = path_in(self._library, thumbnail, "path")
        self._explain(file)
        try:
            with Image.open(file) as made:
                made.load()
                size, colour = made.size, mean_colour(made)
        except OSError as error:
            yield f"thumbnail {thumbnail['box']}: {error}"
            return
        if not (
            size == (thumbnail["width"], thumbnail["height"]) == fitted(picture.width, picture.height, _box(thumbnail))
        ):
            yield f"thumbnail {thumbnail['box']} is {size}"
        if file.stat().st_size != thumbnail["size_bytes"]:
            yield f"thumbnail {thumbnail['box']} has another size in the manifest"
        if any(abs(a - b) > _COLOUR_TOLERANCE for a, b in zip(colour, picture.colour, strict=True)):
            yield f"thumbnail {thumbnail['box']} shows another picture: {colour} for {picture.colour}"

    def _complaints_about_original(self, manifest: Mapping[str, Any], key: Slot, picture: Picture) -> Iterator[str]:
        file = path_in(self._library, manifest, "original") if manifest["original"] else None
        if key in self._expected.bare:
            if file is not None:
                yield f"it has an original, {manifest['original']!r}, which was to be kept or deleted"
            return
        if file is not None and file.is_file():
            self._explain(file)
            if file.read_bytes() != picture.content:
                yield "the original is not what was dropped"
        elif key in self._expected.required:  # one that was overwritten in the inbox has perhaps none
            self._verdict.lost.append(f"original of {key[0]}/{key[1]!r}, manifest says {manifest['original']!r}")

    # -- quarantine and the rest

    def _look_at_quarantine(self) -> None:
        found: Counter[tuple[str, str, str]] = Counter()
        for place, reason in reasons_in(self._library).items():
            file = self._library / "quarantine" / place
            self._explain(file.with_name(f"{file.name}.reason.json"))
            if reason["source"]["inbox"] == "kept":
                if file.exists():
                    self._verdict.wrong.append(f"{place!r} was taken from an inbox whose files stay")
                file = self._inboxes["kept"] / source_path(reason)
            if not file.is_file():
                self._verdict.lost.append(f"quarantined file {place!r}: only its reason is there")
                continue
            if self._library in file.parents:
                self._explain(file)
            key = (reason["source"]["inbox"], source_path(reason), sha256(file.read_bytes()))
            found[key] += 1
            wanted = self._expected.bad.get(key)
            if reason["reason"] != wanted:
                self._verdict.wrong.append(
                    f"{place!r} is quarantined as {reason['reason']}, not {wanted}: {reason['message']}"
                )
        self._verdict.doubled += [
            f"quarantined {number} times: {key[:2]}" for key, number in found.items() if number > 1
        ]
        missing = sorted(self._expected.bad.keys() - found.keys())
        self._verdict.lost += [f"{self._expected.bad[key]} file {key[0]}/{key[1]!r}" for key in missing]

    def _look_for_strays(self) -> None:
        for file in visible_files(self._library):
            if file not in self._explained:
                self._verdict.stray.append(f"{os.fspath(file.relative_to(self._library))!r}")
        for folder, folders, names in os.walk(self._library):
            for name in (*folders, *names):
                path = os.path.relpath(os.path.join(folder, name), self._library)
                if "/." in f"/{_without_ours(path)}":
                    self._verdict.stray.append(f"hidden {path!r}")
        shared = [file for file, number in self._explained.items() if number > 1]
        self._verdict.wrong += [f"two images share {os.fspath(file.relative_to(self._library))!r}" for file in shared]

    def _explain(self, file: Path) -> None:
        self._explained[file] += 1


def _without_ours(path: str) -> str:
    if path.partition("/")[0] == _OURS[0]:
        return ""
    return path.removeprefix(_OURS[1]) if path == _OURS[1] or path.startswith(f"{_OURS[1]}/") else path


def _box(thumbnail: Mapping[str, Any]) -> tuple[int, int]:
    return BOXES[thumbnail["box"]]
