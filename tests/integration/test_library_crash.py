"""Killed at any moment, a worker leaves nothing half-written in sight, loses nothing, and another run completes."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import ingesting
from ingesting import ingest, library_settings, tree_of
from needs import ROOT, need
from straced import run_to_end
from tasks.housekeeping import put_back_leftovers, sweep_claims, sweep_temporaries
from tasks.library import Library

CONTENT = b"photo" * 1000
# Every call by which anything becomes visible, moves or goes; it is killed as it enters the call.
CALLS = ("renameat", "renameat2", "linkat", "unlinkat", "pwrite64")
KILLED = (-9, 128 + 9)


def killed_at(call: str, number: int, root: Path, inbox: Path) -> bool:
    """Ingest photo.jpg and die on entering that call for the `number`th time; False when there were not so many."""
    code = Path(ingesting.__file__).read_text()
    status, _, trouble = run_to_end([f"{call}:signal=KILL:when={number}"], code, root, inbox, b"photo.jpg".hex())
    assert status in (0, *KILLED), trouble
    return status != 0


def assert_whole(root: Path, inbox: Path) -> None:
    """Whatever is in sight is whole, and the photo is in the inbox or in the archive."""
    library = Library(library_settings(root))
    files = tree_of(root)
    for name, content in files.items():
        if name.startswith("thumbnails/"):
            assert content == name.split("/")[2].encode() + CONTENT, name
        elif name.startswith("originals/"):
            assert content == CONTENT, name
        else:
            manifest = library.manifest("beach/photo")
            assert manifest is not None
            assert name == "manifests/beach/photo.json"
            assert library.is_complete(manifest, ingesting.RECIPE), "the manifest came before its thumbnails"
    waiting = [content for name, content in tree_of(inbox, hidden=True).items() if name.endswith("photo.jpg")]
    archived = files.get("originals/beach/photo.jpg")
    assert waiting or archived, "the photo is lost"
    assert not archived or "manifests/beach/photo.json" in files, "the original went before the manifest"


def assert_completes(root: Path, inbox: Path) -> None:
    """What the next run and housekeeping make of it is what an undisturbed run makes."""
    later = time.time() + 86400
    put_back_leftovers(inbox, 3600, later)
    library = Library(library_settings(root))
    if (inbox / "photo.jpg").exists():
        assert ingest(library, inbox, "photo.jpg") == ("beach/photo", "originals/beach/photo.jpg")
    sweep_temporaries(root, 3600, later)
    sweep_claims(root, 3600, later)
    manifest = library.manifest("beach/photo")
    assert manifest is not None
    assert manifest.original == "originals/beach/photo.jpg"
    assert len(tree_of(root)) == 4
    assert not [name for name in tree_of(root, hidden=True) if name.endswith((".tmp", ".claim"))]
    assert tree_of(inbox, hidden=True) == {}


def cases(tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    for number in range(1, 100):
        root, inbox = tmp_path / f"library{number}", tmp_path / f"inbox{number}"
        library_settings(root)
        inbox.mkdir()
        (inbox / "photo.jpg").write_bytes(CONTENT)
        yield root, inbox
    pytest.fail("never came to its end")


@pytest.mark.parametrize("call", CALLS)
def test_a_worker_killed_at_any_step_of_a_move_leaves_only_whole_files_and_is_made_up_for(
    tmp_path: Path, call: str
) -> None:
    for number, (root, inbox) in enumerate(cases(tmp_path), 1):
        was_killed = killed_at(call, number, root, inbox)
        assert_whole(root, inbox)
        assert_completes(root, inbox)
        if not was_killed:
            assert number > 1
            return


@pytest.mark.parametrize("call", ["renameat2", "unlinkat"])
def test_a_worker_killed_at_any_step_of_a_copy_leaves_only_whole_files_and_is_made_up_for(
    tmp_path: Path, call: str
) -> None:
    for number, (root, inbox) in enumerate(cases(tmp_path), 1):
        (tmp_path / f"second{number}").hardlink_to(inbox / "photo.jpg")
        was_killed = killed_at(call, number, root, inbox)
        assert_whole(root, inbox)
        assert_completes(root, inbox)
        if not was_killed:
            assert number > 1
            return


def test_every_file_is_synced_before_its_rename_and_its_folder_after(tmp_path: Path) -> None:
    """Else a power cut leaves empty files under final names, or takes back what was committed."""
    root, inbox = next(cases(tmp_path))
    (tmp_path / "second").hardlink_to(inbox / "photo.jpg")
    calls = trace_of("fsync,renameat,renameat2,linkat", root, inbox)
    synced: set[str] = set()
    waiting: list[str] = []
    for call in calls:
        if sync := re.match(r"fsync\(\d+<(.+)>\)", call):
            synced.add(sync[1])
            waiting = [folder for folder in waiting if folder != sync[1]]
        elif re.match(r'linkat\(.*"photo.json"', call):
            assert f"{root}/manifests/beach/.photo.claim" in synced, call
            assert not waiting, f"committed before these were durable: {waiting}"
            waiting.append(f"{root}/manifests/beach")
        elif rename := re.match(r'renameat2?\(\d+<(.+)>, "(.+)", \d+<(.+)>, "(.+?)"', call):
            source, name, target, final = rename.groups()
            if not source.startswith(str(root)):
                continue  # within the inbox, on the way out
            assert f"{source}/{name}" in synced, call
            assert final != "photo.json", "the claim's own file becomes the manifest"
            waiting.append(target)
    assert len(calls) > 10
    assert not waiting


def test_files_are_synced_together_each_folder_once_and_the_manifest_is_written_once(tmp_path: Path) -> None:
    """Each sync that does not share a commit of the journal with others costs the worker milliseconds of waiting."""
    root, inbox = next(cases(tmp_path))
    (root / "originals/beach").mkdir(parents=True)
    calls = [
        "sync" if call.startswith("fsync") and (".tmp>" in call or ".claim>" in call) else call.replace(str(root), "")
        for call in trace_of("fsync,renameat,renameat2", root, inbox)
    ]
    files = [at for at, call in enumerate(calls) if call == "sync"]
    assert len(files) == 4, "two thumbnails, the memory of the source, the manifest; nothing once more"
    shown = [at for at, call in enumerate(calls) if call.startswith("renameat(") and "/thumbnails/" in call]
    assert files[1] < shown[0] < shown[1] < files[2], "the thumbnails do not wait for the records"
    assert not any("fsync" in call and "photo.jpg" not in call for call in calls[files[0] : files[3]]), (
        "a folder between files"
    )
    synced = [re.sub(r"fsync\(\d+<(.*)>.*", r"\1", call) for call in calls[files[3] :] if call.startswith("fsync")]
    assert len(synced) == len(set(synced))
    assert [Path(folder).parts[1] for folder in synced] == ["thumbnails"] * 2 + ["manifests"] * 2 + ["originals"]


def trace_of(names: str, root: Path, inbox: Path) -> list[str]:
    log = root.parent / "calls"
    code = Path(ingesting.__file__).read_text()
    command = [
        need("strace"),
        "-f",
        "-qq",
        "-y",
        "-s",
        "500",
        "-o",
        str(log),
        f"--trace={names}",
        sys.executable,
        "-c",
        code,
    ]
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "PYTHONDONTWRITEBYTECODE": "1"}
    subprocess.run([*command, str(root), str(inbox), b"photo.jpg".hex()], env=environment, check=True)
    return [re.sub(r"^\d+ +", "", line) for line in log.read_text().splitlines()]
