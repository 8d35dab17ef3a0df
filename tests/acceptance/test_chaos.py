"""A short chaos run in CI, and proof that its judge is not blind; `make chaos` is the long one (tests/chaos)."""

import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from chaos_judge import judge
from chaos_plan import FAULTS, Expected, make_plan
from chaos_run import Report, run_and_keep
from needs import missing
from running import manifests_in, path_in, reasons_in

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.timeout(200)]

FIXED_SEED = 20240506
FILES, FAULT_COUNT, SECONDS = 150, 26, 10.0


@dataclass(frozen=True)
class Ended:
    """A run that has ended, with what it left."""

    report: Report
    library: Path
    inboxes: Mapping[str, Path]

    @property
    def expected(self) -> Expected:
        return self.report.plan.expected


@pytest.fixture(scope="module")
def ended(installed_program: Path) -> Iterator[Ended]:
    """The run with the fixed seed."""
    with ExitStack() as stack:
        yield do_run(installed_program, FIXED_SEED, stack)


def do_run(program: Path, seed: int, stack: ExitStack) -> Ended:
    plan = make_plan(seed, FILES, FAULT_COUNT, SECONDS)
    # Not pytest's own folder: a unix socket's path is short.
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="tdc-", dir="/var/tmp", ignore_cleanup_errors=True))
    report, stage = stack.enter_context(run_and_keep(program, Path(folder), plan))
    return Ended(report, stage.library, stage.inboxes)


def assert_all_ended_as_it_must(report: Report) -> None:
    print(report.table())  # noqa: T201 - the figures, and the seed
    assert not report.verdict.complaints
    assert not report.client_errors
    assert set(report.exit_codes) == {0}
    assert report.faults.keys() | report.missed.keys() >= FAULTS.keys() - (
        {"disk filled"} if not report.filled else set()
    )
    assert report.faults.total() >= FAULT_COUNT * 0.7
    if not report.filled:
        missing("not root, so no disk was filled")


def test_chaos_with_a_fixed_seed_loses_nothing(ended: Ended) -> None:
    assert_all_ended_as_it_must(ended.report)


def test_chaos_with_a_fresh_seed_loses_nothing(installed_program: Path) -> None:
    with ExitStack() as stack:
        assert_all_ended_as_it_must(do_run(installed_program, secrets.randbelow(10**9), stack).report)


# -- the judge


def archived(library: Path, expected: Expected) -> Iterator[tuple[str, dict[str, Any]]]:
    """The manifests of images that must be there with their originals, by slot."""
    shas = {slot[2] for slot in expected.required - expected.bare}
    return ((s, m) for s, m in manifests_in(library).items() if m["sha256"] in shas)


def lose_an_image(library: Path, expected: Expected) -> None:
    slot, manifest = next(archived(library, expected))
    for thumbnail in manifest["thumbnails"]:
        path_in(library, thumbnail, "path").unlink()
    path_in(library, manifest, "original").unlink()
    (library / "manifests" / f"{slot}.json").unlink()


def lose_an_original(library: Path, expected: Expected) -> None:
    _, manifest = next(archived(library, expected))
    path_in(library, manifest, "original").unlink()


def invent_an_original(library: Path, expected: Expected) -> None:
    bare = {slot[2] for slot in expected.bare}
    slot, manifest = next((s, m) for s, m in manifests_in(library).items() if m["sha256"] in bare)
    (library / "manifests" / f"{slot}.json").write_text(json.dumps({**manifest, "original": "originals/a.jpg"}))


def damage_an_original(library: Path, expected: Expected) -> None:
    _, manifest = next(archived(library, expected))
    with path_in(library, manifest, "original").open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\xaa")


def swap_two_thumbnails(library: Path, expected: Expected) -> None:
    """Both are whole: only what they show is wrong."""
    ones = list(manifests_in(library).values())[:2]
    first, second = (path_in(library, one["thumbnails"][0], "path") for one in ones)
    first.rename(library / "aside")
    second.rename(first)
    (library / "aside").rename(second)


def cut_a_thumbnail(library: Path, expected: Expected) -> None:
    manifest = next(iter(manifests_in(library).values()))
    os.truncate(path_in(library, manifest["thumbnails"][0], "path"), 200)


def lie_about_a_size(library: Path, expected: Expected) -> None:
    slot, manifest = next(iter(manifests_in(library).items()))
    manifest["image"]["width"] += 1
    (library / "manifests" / f"{slot}.json").write_text(json.dumps(manifest))


def double_an_image(library: Path, expected: Expected) -> None:
    slot, manifest = next(
        (s, m) for s, m in manifests_in(library).items() if "~" not in s and m["original"] and "original_b64" not in m
    )
    twin = library / "manifests" / f"{slot}~{manifest['sha256'][:8]}.json"
    twin.write_text(json.dumps(manifest))


def leave_a_temporary(library: Path, expected: Expected) -> None:
    (library / "thumbnails" / ".thumbdrop-0123456789abcdef.tmp").write_bytes(b"")


def leave_a_temporary_among_the_memories(library: Path, expected: Expected) -> None:
    (library / "manifests" / ".by-source" / ".thumbdrop-0123456789abcdef.tmp").write_bytes(b"")


def leave_a_stray_file(library: Path, expected: Expected) -> None:
    (library / "thumbnails" / "stray.jpg").write_bytes(b"")


def moved_away(library: Path) -> str:
    """A file in quarantine, not one that stayed in its inbox."""
    return next(place for place in reasons_in(library) if (library / "quarantine" / place).exists())


def lose_a_quarantined_file(library: Path, expected: Expected) -> None:
    (library / "quarantine" / moved_away(library)).unlink()


def quarantine_twice(library: Path, expected: Expected) -> None:
    place = moved_away(library)
    for suffix in ("", ".reason.json"):
        shutil.copy(library / "quarantine" / f"{place}{suffix}", library / "quarantine" / f"twin.jpg{suffix}")


def give_a_wrong_reason(library: Path, expected: Expected) -> None:
    place, reason = next(iter(reasons_in(library).items()))
    (library / "quarantine" / f"{place}.reason.json").write_text(json.dumps({**reason, "reason": "crashed_worker"}))


@pytest.mark.parametrize(
    ("sabotage", "complaint"),
    [
        (lose_an_image, "lost"),
        (lose_an_original, "lost"),
        (invent_an_original, "wrong"),
        (damage_an_original, "wrong"),
        (swap_two_thumbnails, "wrong"),
        (cut_a_thumbnail, "wrong"),
        (lie_about_a_size, "wrong"),
        (double_an_image, "doubled"),
        (leave_a_temporary, "stray"),
        (leave_a_temporary_among_the_memories, "stray"),
        (leave_a_stray_file, "stray"),
        (lose_a_quarantined_file, "lost"),
        (quarantine_twice, "doubled"),
        (give_a_wrong_reason, "wrong"),
    ],
)
def test_the_judge_finds(
    ended: Ended, tmp_path: Path, sabotage: Callable[[Path, Expected], None], complaint: str
) -> None:
    library = tmp_path / "library"
    shutil.copytree(ended.library, library, ignore=shutil.ignore_patterns(".thumbdrop"))
    assert judge(library, ended.inboxes, ended.expected).complaints == []
    sabotage(library, ended.expected)
    assert judge(library, ended.inboxes, ended.expected).counts[complaint] >= 1


def test_the_judge_finds_what_is_still_in_an_inbox(ended: Ended, tmp_path: Path) -> None:
    (tmp_path / ".thumbdrop-removing-0123456789abcdef").mkdir()
    verdict = judge(ended.library, {**ended.inboxes, "far": tmp_path}, ended.expected)
    assert verdict.counts["unfinished"] == 1


def lose_a_kept_file(inbox: Path, path: str) -> None:
    (inbox / path).unlink()


def damage_a_kept_file(inbox: Path, path: str) -> None:
    (inbox / path).write_bytes(b"")


def leave_a_file_that_nobody_dropped(inbox: Path, path: str) -> None:
    (inbox / "stray.jpg").write_bytes(b"")


@pytest.mark.parametrize(
    ("sabotage", "complaint"),
    [(lose_a_kept_file, "lost"), (damage_a_kept_file, "wrong"), (leave_a_file_that_nobody_dropped, "unfinished")],
)
def test_the_judge_finds_what_is_wrong_where_files_stay(
    ended: Ended, tmp_path: Path, sabotage: Callable[[Path, str], None], complaint: str
) -> None:
    kept = tmp_path / "kept"
    shutil.copytree(ended.inboxes["kept"], kept)
    inboxes = {**ended.inboxes, "kept": kept}
    assert judge(ended.library, inboxes, ended.expected).complaints == []
    sabotage(kept, next(iter(ended.expected.kept)))
    assert judge(ended.library, inboxes, ended.expected).counts[complaint] >= 1
