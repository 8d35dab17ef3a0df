"""The library: thumbnails, manifests and originals under one root, and the only writer of them.

Nothing is visible before it is whole, and nothing is done before its manifest stands (invariants 3 to 5). Every
failure comes out as one of `errors.py`, and none as GoneError, which is about the inbox. Knows no pixels: it is
given finished bytes. What waits for the disk is done in steps (tasks/together.py): whoever drives them syncs the folders.
"""

from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Protocol

from config.settings import LibrarySettings
from tasks import bysource
from tasks.archive import Archive
from tasks.errors import TransientError
from tasks.library_names import split_path, stem_of
from tasks.library_tree import Tree, folders_of, split_last
from tasks.manifest import Manifest, Thumbnail, to_bytes
from tasks.messages import Arrival
from tasks.recipe import WantedSize
from tasks.slots import Slots, manifest_path
from tasks.source import Source
from tasks.together import Steps
from tasks.whole_files import WholeFiles

THUMBNAILS = "thumbnails"


class Rendition(Protocol):
    """What is needed of a `pixels.Rendition`, which is not imported because it would bring Pillow with it."""

    @property
    def size(self) -> WantedSize:
        """The size that was wanted."""

    @property
    def width(self) -> int:
        """What it measures, in pixels."""

    @property
    def height(self) -> int:
        """What it measures, in pixels."""

    @property
    def content(self) -> bytes:
        """The finished file."""


class Library:
    """One library root. Several workers on several hosts may use the same one at the same time."""

    def __init__(self, settings: LibrarySettings) -> None:
        self._tree = Tree(settings)
        self._slots = Slots(self._tree)
        self._archive = Archive(self._tree)
        self._replaces = settings.same_name == "newest"

    def check_room(self) -> None:
        """Raise ResourceError when the library is away, read-only, not ours to write, or has less than `min_free`."""
        self._tree.check_room()

    def at_work(self) -> AbstractContextManager[None]:
        """The time in which images are brought in; their steps share what they open."""
        return self._tree.holding()

    def sync(self, folder: str) -> None:
        """Make the names in a folder of the library durable; raises OSError."""
        self._tree.sync(folder)

    # -- which slot

    def slot_for(self, arrival: Arrival, category: str, sha256: str) -> str:
        """The slot for this content of this source, reserved: the one it had, else one claimed by the rules.

        With `same_name = "newest"` a changed image takes over the slot that its source had last.
        """
        known = self.known_slot(arrival, sha256)
        if known is not None:
            return known
        return self.claim(category, stem_of(arrival.path), sha256, replaces=self.replaced_slot(arrival))

    def known_slot(self, arrival: Arrival, sha256: str) -> str | None:
        """The slot that this source has had for this content, reserved again; None when there is none to be had."""
        with self._tree.trouble("look up the slot of", arrival.path):
            slot = bysource.recall(self._tree, arrival.inbox, arrival.path).slots.get(sha256)
            return slot if slot is not None and self._slots.take(slot, sha256) else None

    def replaced_slot(self, arrival: Arrival) -> str | None:
        """The slot that a changed image of this source takes over; None unless `same_name = "newest"`."""
        if not self._replaces:
            return None
        with self._tree.trouble("look up the slot of", arrival.path):
            slots = bysource.recall(self._tree, arrival.inbox, arrival.path).slots
            for slot in list(slots.values())[-1:]:
                manifest = self._slots.manifest(slot)
                if manifest is not None and _source_of(manifest) == (arrival.inbox, arrival.path):
                    return slot
        return None

    def claim(self, category: str, stem: str, sha256: str, *, replaces: str | None = None) -> str:
        """Reserve `<category>/<stem>` for this content, or the same with `~` and digits of its hash; the slot.

        `replaces` is tried first: a slot whose image this one takes the place of.
        """
        if stem.startswith(".") or any(part.startswith(".") for part in (*split_path(category), *split_path(stem))):
            raise ValueError(f"hidden names in the library are ours: {category!r}, {stem!r}")
        with self._tree.trouble("claim a slot in", category):
            return self._slots.claim(category, stem, sha256, replaces)

    # -- publish

    def publish(
        self, slot: str, manifest: Manifest, renditions: Iterable[Rendition], source: Source | None = None
    ) -> Steps[Manifest]:
        """Put thumbnails and then the manifest in place, durably, in steps; the manifest as it stands there.

        The slot has to be reserved for `manifest.sha256`. Its category, thumbnails and original are filled in here:
        an original that the same content has in the archive already stays its original, else it is announced where
        `source`, if it is given, will stand unless another worker is faster. That is for `archive` to make true; nothing
        has to be written between the commit and the move then.
        """
        outputs = {_thumbnail(slot, rendition): rendition.content for rendition in renditions}
        with self._tree.trouble("publish", slot):
            before = self._slots.require(slot, manifest.sha256)
            replaced = before if before is not None and before.sha256 != manifest.sha256 else None
            original = before.original if before is not None and replaced is None else None
            if original is None and source is not None:
                original = self._archive.place_for(slot, source)
            whole = replace(manifest, category=split_last(slot)[0], original=original, thumbnails=tuple(outputs))
            if replaced is not None and source is not None:
                source.sync()  # trouble with the inbox must not leave its thumbnails under the other image's manifest
            yield from self._put_in_place(slot, whole, outputs, source)
            self._slots.drop(slot)
            if replaced is not None:
                self._remove_replaced(replaced, whole)
        return whole

    def adopt(self, slot: str, arrival: Arrival, sha256: str) -> None:
        """Note that this arrival is the image of that slot too, when a duplicate needs no publishing."""
        with self._tree.trouble("note the source of", slot):
            bysource.remember(self._tree, arrival, sha256, slot)

    def _put_in_place(
        self, slot: str, whole: Manifest, outputs: dict[Thumbnail, bytes], source: Source | None
    ) -> Steps[None]:
        commit = manifest_path(slot)
        memory = bysource.memory_path(whole.source.inbox, whole.source.path)
        remembered = bysource.with_slot(self._tree, whole.source, whole.sha256, slot)
        shown = [thumbnail.path for thumbnail in outputs]
        with WholeFiles(self._tree) as files:
            for thumbnail, content in outputs.items():
                files.add_unless_there(thumbnail.path, content)
            if remembered is not None:
                files.add(memory, remembered)
            files.add(commit, to_bytes(whole), into=self._slots.open_own(slot))
            yield ()
            files.show(shown)
            if source is not None:
                source.sync()  # from the commit on the manifest speaks for it
            files.sync()
            files.name([memory])
            # Also where a file stood there before: whoever put it there may have died before he synced.
            yield folders_of([*shown, *([memory] if remembered is not None else [])])
            files.name([commit])
            yield folders_of([commit])

    def _remove_replaced(self, before: Manifest, after: Manifest) -> None:
        # They show another image, and no manifest names them any more.
        kept = {thumbnail.path for thumbnail in after.thumbnails}
        for thumbnail in before.thumbnails:
            if thumbnail.path not in kept:
                self._tree.unlink(thumbnail.path)

    # -- originals

    def archive(self, slot: str, source: Source, manifest: Manifest | None = None) -> Steps[str | None]:
        """Move the original out of the inbox to `originals/`, last of all, in steps; its path relative to the library.

        The manifest's `original` is kept right on the way; `manifest` is what stands there now, if that is known. None
        when the file was changed, replaced or gone before it could be archived; it is not touched then. With the same
        bytes in the archive already, the source is removed.
        """
        announced = (manifest or self._manifest(slot)).original

        def announce(path: str | None) -> None:
            nonlocal announced
            if path != announced:
                self.set_original(slot, path)
                announced = path

        with self._tree.trouble("archive the original of", slot):
            original = self._archive.keep(slot, source, announced, announce)
            if original is not None:
                yield folders_of([original])
        return original

    def set_original(self, slot: str, original: str | None) -> None:
        """Write down where the original stands, if the manifest does not say so already."""
        manifest = self._manifest(slot)
        if manifest.original != original:
            with self._tree.trouble("write the manifest of", slot):
                self._tree.write(manifest_path(slot), to_bytes(replace(manifest, original=original)))

    def _manifest(self, slot: str) -> Manifest:
        manifest = self.manifest(slot)
        if manifest is None:
            raise TransientError(f"the manifest of {slot} is gone; the next try makes it again")
        return manifest

    # -- look

    def manifest(self, slot: str) -> Manifest | None:
        """The slot's manifest; None when there is none, or a damaged one (which is logged)."""
        with self._tree.trouble("read the manifest of", slot):
            return self._slots.manifest(slot)

    def known_manifest(self, arrival: Arrival) -> Manifest | None:
        """The manifest made from this very arrival (source, size and mtime), without a look at its content."""
        with self._tree.trouble("look up the manifest of", arrival.path):
            memory = bysource.recall(self._tree, arrival.inbox, arrival.path)
            if not memory.is_of(arrival) or memory.sha256 not in memory.slots:
                return None
            manifest = self._slots.manifest(memory.slots[memory.sha256])
        return manifest if manifest is not None and manifest.sha256 == memory.sha256 else None

    def manifests_of(self, inbox: str, path: str) -> dict[str, Manifest]:
        """Every image that this source has brought, by slot, the newest last."""
        with self._tree.trouble("look up the manifests of", path):
            slots = bysource.recall(self._tree, inbox, path).slots
            found = {slot: (sha256, self._slots.manifest(slot)) for sha256, slot in slots.items()}
        return {slot: it for slot, (sha256, it) in found.items() if it is not None and it.sha256 == sha256}

    def is_complete(self, manifest: Manifest, fingerprint: str) -> bool:
        """Whether it was made by this recipe and every thumbnail stands there with its recorded size."""
        if manifest.recipe != fingerprint:
            return False
        with self._tree.trouble("look at the thumbnails of", manifest.source.path):
            return all(self._tree.size_of(one.path) == one.size_bytes for one in manifest.thumbnails)


def _thumbnail(slot: str, rendition: Rendition) -> Thumbnail:
    category, stem = split_last(slot)
    size = rendition.size
    path = f"{THUMBNAILS}/{category}/{size.label}/{stem}_{size.label}.{size.suffix}"
    return Thumbnail(path, size.label, rendition.width, rendition.height, size.format, len(rendition.content))


def _source_of(manifest: Manifest) -> tuple[str, str]:
    return manifest.source.inbox, manifest.source.path
