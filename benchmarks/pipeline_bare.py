"""The bare engine: what is left of the pipeline without watcher, Redis, Celery, slots and claims.

The same calls make the pixels, the same bytes are hashed, and the same files are written and synced in the same order
by the same steps of tasks/durable.py; so the difference to the pipeline is what the promises around the engine cost.
"""

import multiprocessing
import os
import time
from collections.abc import Iterable, Sequence
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path

from config.settings import LibrarySettings, LimitSettings
from pipeline_photos import recipe
from tasks.durable import hash_of
from tasks.header import read_header
from tasks.library_tree import Tree, folders_of
from tasks.pixels import Rendered, render
from tasks.recipe import Recipe
from tasks.together import Steps, Together
from tasks.whole_files import WholeFiles


def engine(path: Path, wanted: Recipe, limits: LimitSettings) -> tuple[Rendered, str]:
    """Header, checks, decode, every size, and the sha256: the work itself, with nothing written."""
    with path.open("rb") as file:
        size_bytes = os.fstat(file.fileno()).st_size
        rendered = render(file, read_header(file, size_bytes, limits), wanted)
        return rendered, hash_of(file.fileno())


class BareLibrary:
    """A folder for each size, records and originals, as in a library with one category."""

    def __init__(self, root: Path, wanted: Recipe) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self._recipe, self._limits = wanted, LimitSettings()
        self._tree = Tree(LibrarySettings(path=root))

    def ingest(self, photos: Iterable[Path]) -> None:
        """Photos: thumbnails, two records of each, and then the originals out of the way; they wait for the disk together."""
        together = Together(self._tree.sync)
        for path in photos:
            together.begin(self._steps(path))
        together.finish()

    def _steps(self, path: Path) -> Steps[None]:
        rendered, sha256 = engine(path, self._recipe, self._limits)
        source, manifest = f"sources/{sha256[:2]}/{sha256}.json", f"manifests/{path.name}.json"
        record = f'{{"sha256": "{sha256}"}}'.encode().ljust(1200)
        with WholeFiles(self._tree) as files:
            shown = self._add(files, path, rendered)
            files.add(source, record)
            files.add(manifest, record)
            yield ()
            files.show(shown)
            with path.open("rb") as original:
                os.fsync(original)
            files.sync()
            files.name([source])
            yield folders_of([*shown, source])
            files.name([manifest])
            yield folders_of([manifest])
        with self._tree.directory("originals", make=True) as originals:
            os.rename(path, path.name, dst_dir_fd=originals)
        yield ["originals"]

    def show(self, path: Path) -> tuple[float, float]:
        """Only make the thumbnails; seconds until they are made, and until they stand under their names, synced before."""
        began = time.perf_counter()
        rendered, _ = engine(path, self._recipe, self._limits)
        made = time.perf_counter()
        with WholeFiles(self._tree) as files:
            shown = self._add(files, path, rendered)
            files.show(shown)
            for folder in folders_of(shown):
                self._tree.sync(folder)
        return made - began, time.perf_counter() - began

    def _add(self, files: WholeFiles, path: Path, rendered: Rendered) -> list[str]:
        contents = {f"{one.size.label}/{path.name}": one.content for one in rendered.renditions}
        for name, content in contents.items():
            files.add(name, content)
        return list(contents)


def run(root: Path, photos: Sequence[Path], processes: int, together: int = 1) -> float:
    """Seconds for all photos in that many processes, each taking so many as it gets free; starting is not counted."""
    context = multiprocessing.get_context("fork")
    taken, ready = context.Value("i", 0), context.Barrier(processes + 1)
    crew = [context.Process(target=_work, args=(root, photos, together, taken, ready)) for _ in range(processes)]
    for one in crew:
        one.start()
    ready.wait(60)
    began = time.perf_counter()
    for one in crew:
        one.join()
    seconds = time.perf_counter() - began
    if any(one.exitcode for one in crew):
        raise RuntimeError("a process of the bare engine failed")
    return seconds


def _work(
    root: Path,
    photos: Sequence[Path],
    together: int,
    taken: "Synchronized[int]",
    ready: "multiprocessing.synchronize.Barrier",
) -> None:
    library = BareLibrary(root, recipe())
    ready.wait(60)
    while True:
        with taken.get_lock():
            number = taken.value
            taken.value += together
        if number >= len(photos):
            return
        library.ingest(photos[number : number + together])
