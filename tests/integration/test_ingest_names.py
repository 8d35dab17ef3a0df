"""Names that collide, and two workers that do: every image lives under a name of its own, and nothing is written over."""

import hashlib
import io
import json
import os
import subprocess
import sys
import textwrap
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import astuple
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from images import encoded, exif, image_bytes, photo
from ingest_rig import MakeRig, Rig, jpeg
from needs import ROOT, missing, need
from servers import RedisServer
from tasks.messages import Arrival
from waiting import wait_until


def assert_every_image_is_whole(rig: Rig, dropped: dict[str, bytes]) -> None:
    """Assert that each content has one manifest, thumbnails of its own picture, and its original byte for byte."""
    manifests = [json.loads(file.read_bytes()) for file in (rig.library / "manifests").rglob("*.json")]
    found = {m["sha256"]: m for m in manifests if "sha256" in m}  # the others are memories of sources
    contents = {hashlib.sha256(content).hexdigest(): content for content in dropped.values()}
    assert found.keys() == contents.keys()
    paths: list[str] = []
    for sha256, manifest in found.items():
        assert (rig.library / manifest["original"]).read_bytes() == contents[sha256]
        with Image.open(io.BytesIO(contents[sha256])) as source:
            shape = source.width > source.height
        for thumbnail in manifest["thumbnails"]:
            with Image.open(rig.library / thumbnail["path"]) as picture:
                assert (picture.width, picture.height) == (thumbnail["width"], thumbnail["height"])
                assert (picture.width > picture.height) == shape
            assert (rig.library / thumbnail["path"]).stat().st_size == thumbnail["size_bytes"]
        paths += [manifest["original"], *(thumbnail["path"] for thumbnail in manifest["thumbnails"])]
    assert len(set(paths)) == len(paths)
    visible = [name for part in ("originals", "thumbnails") for name in rig.files(part)]
    assert len(visible) == len(paths), "and nothing else stands there"
    assert [str(file) for file in rig.library.rglob(".thumbdrop-*")] == []


def drop_all(rig: Rig, dropped: dict[str, bytes]) -> list[dict[str, Any]]:
    """Put the files in and work on them one after the other; their outcomes."""
    return [rig.work(rig.put(name, content)) for name, content in dropped.items()]


def several(*names: str) -> dict[str, bytes]:
    """A different picture for each name: some wide, some tall."""
    sizes = [(120, 80), (80, 120), (121, 80), (80, 121), (122, 80), (80, 122)]
    return {name: jpeg(*sizes[number % 6], seed=number) for number, name in enumerate(names)}


# -- one after the other


def test_a_png_and_a_jpg_of_one_name_are_two_images(rig: Rig) -> None:
    dropped = {"a.png": image_bytes("png", 120, 80), "a.jpg": jpeg(80, 120), "a.jpeg": jpeg(90, 120)}
    outcomes = drop_all(rig, dropped)
    assert [outcome["slot"].partition("~")[0] for outcome in outcomes] == ["uncategorized/a"] * 3
    assert len({outcome["slot"] for outcome in outcomes}) == 3
    assert outcomes[0]["slot"] == "uncategorized/a", "the first one has the plain name"
    assert_every_image_is_whole(rig, dropped)


def test_equal_names_in_folders_that_a_rule_sends_to_one_category_live_beside_each_other(make_rig: MakeRig) -> None:
    rig = make_rig(category={"rule": [{"name": "all/{year}", "taken_after": "2000-01-01"}]})
    taken = {"exif": exif(taken="2024:05:06 07:08:09")}
    dropped = {
        f"{folder}/IMG_0001.jpg": encoded(photo(*size), "jpeg", **taken)
        for folder, size in {"anna": (120, 80), "ben/2024": (80, 120), "carla": (121, 80)}.items()
    }
    outcomes = drop_all(rig, dropped)
    assert {outcome["slot"].partition("~")[0] for outcome in outcomes} == {"all/2024/IMG_0001"}
    assert_every_image_is_whole(rig, dropped)
    again = drop_all(rig, dropped)
    assert [outcome["outcome"] for outcome in again] == ["duplicate"] * 3
    assert [outcome["slot"] for outcome in again] == [outcome["slot"] for outcome in outcomes]


def test_the_same_bytes_under_other_names_in_one_folder_are_an_image_for_each_name(rig: Rig) -> None:
    content = jpeg(120, 80)
    assert [o["slot"] for o in drop_all(rig, {"a.jpg": content, "b.jpg": content})] == [
        "uncategorized/a",
        "uncategorized/b",
    ]
    assert (rig.library / "originals/uncategorized/a.jpg").read_bytes() == content
    assert (rig.library / "originals/uncategorized/b.jpg").read_bytes() == content


def test_names_of_255_bytes_that_differ_only_at_their_end_stay_apart(rig: Rig) -> None:
    dropped = several(
        *("n" * 250 + f"{end}.jpg" for end in "12"),
        *("写" * 83 + f"{end:02}.jpg" for end in (1, 2)),
        "😀" * 62 + "abc.jpg",
    )
    assert {len(os.fsencode(name)) for name in dropped} == {255}
    assert [outcome["outcome"] for outcome in drop_all(rig, dropped)] == ["done"] * 5
    assert_every_image_is_whole(rig, dropped)
    assert all(len(os.fsencode(name)) <= 255 for file in rig.files("") for name in file.split("/"))


ALIKE = (
    *("Photo.jpg", "photo.jpg", "PHOTO.JPG"),
    *(unicodedata.normalize(form, "Café Ünlü.jpg") for form in ("NFC", "NFD")),
    "CAFÉ ÜNLÜ.jpg",
)


def test_names_that_differ_only_in_case_or_normal_form_are_images_of_their_own(rig: Rig) -> None:
    dropped = several(*ALIKE)
    slots = [outcome["slot"] for outcome in drop_all(rig, dropped)]
    assert slots == [f"uncategorized/{name[:-4]}" for name in ALIKE]
    assert_every_image_is_whole(rig, dropped)


@pytest.fixture
def folding_library(tmp_path: Path) -> Iterator[Path]:
    """The rig's library on a file system that does not tell such names apart."""
    need("fusermount3")
    if not os.access("/dev/fuse", os.W_OK):
        missing("no /dev/fuse")
    backing, mount = tmp_path / "backing", tmp_path / "library"
    backing.mkdir()
    mount.mkdir()
    with subprocess.Popen([sys.executable, ROOT / "tests/folding.py", backing, mount]) as server:
        try:
            wait_until(lambda: os.path.ismount(mount) or server.poll() is not None, "it is mounted")
            yield mount
        finally:
            subprocess.run(["fusermount3", "-u", "-z", mount], check=False)
            server.terminate()


def test_on_a_library_that_ignores_case_and_normal_form_such_names_stay_apart_too(
    folding_library: Path, rig: Rig
) -> None:
    (folding_library / "Probe").touch()
    assert (folding_library / "pROBE").exists()
    (folding_library / "Probe").unlink()
    dropped = several(*ALIKE)
    outcomes = drop_all(rig, dropped)
    assert [outcome["outcome"] for outcome in outcomes] == ["done"] * len(ALIKE)
    assert len({outcome["slot"].casefold() for outcome in outcomes}) == len(ALIKE)
    assert_every_image_is_whole(rig, dropped)
    again = drop_all(rig, dropped)
    assert [outcome["outcome"] for outcome in again] == ["duplicate"] * len(ALIKE)
    assert_every_image_is_whole(rig, dropped)


# -- what a camera says


@pytest.mark.parametrize(
    "model",
    ["../../../../tmp/evil", "/etc/cron.d", "..", "a/../../b", ".hidden", "x.json", "IMG.jpg", "\\..\\..", "~root"],
)
def test_a_category_from_exif_never_leaves_its_place(make_rig: MakeRig, model: str, tmp_path: Path) -> None:
    rig = make_rig(category={"default": "cameras/{camera}"})
    dropped = {"a.jpg": encoded(photo(120, 80), "jpeg", exif=exif(model=model))}
    before = {path for path in tmp_path.rglob("*") if rig.library not in path.parents}
    (outcome,) = drop_all(rig, dropped)
    assert outcome["outcome"] == "done"
    top, camera, stem = outcome["slot"].split("/")
    assert (top, stem) == ("cameras", "a")
    assert camera not in ("", ".", "..")
    assert not camera.startswith(".")
    assert not camera.endswith((".json", ".jpg"))
    assert_every_image_is_whole(rig, dropped)
    after = {path for path in tmp_path.rglob("*") if rig.library not in path.parents}
    assert after <= before | {rig.inbox}


def test_an_image_that_is_named_like_a_folder_of_another_is_in_nobodys_way(rig: Rig) -> None:
    dropped = several(
        "trip.json/a.jpg", "trip.jpg/a.jpg", "trip.jpg/b.jpg", "trip/a.jpg", "320x320/a.jpg", "a.json.jpg"
    )
    assert [outcome["outcome"] for outcome in drop_all(rig, dropped)] == ["done"] * 6
    assert_every_image_is_whole(rig, dropped)


# -- at the same moment


WORKER = """
    import json, sys
    from config.settings import Settings
    from config.urls import connect
    from tasks.ingest import Ingest
    from tasks.leases import Leases
    from tasks.messages import Arrival, to_message

    settings = Settings.model_validate(json.loads(sys.argv[1]))
    leases = Leases(connect(sys.argv[2], 5), 60)
    ingest = Ingest(settings, leases)
    print("ready", flush=True)
    for line in sys.stdin:
        arrival = Arrival(*json.loads(line))
        (verdict,) = leases.offer([arrival])
        print(json.dumps(ingest.ingest(to_message(arrival, verdict.token))), flush=True)
"""


class Worker:
    """The worker's steps in a process of its own, with a lease store of its own: nothing keeps two of them apart."""

    def __init__(self, rig: Rig, server: RedisServer, database: int) -> None:
        url = f"redis+socket://{server.socket}?virtual_host={database}"
        self.process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(WORKER), json.dumps(rig.settings.as_written()), url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
        )

    def read(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def begin(self, arrival: Arrival) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps([*astuple(arrival)]) + "\n")
        self.process.stdin.flush()

    def outcome(self) -> dict[str, Any]:
        outcome: dict[str, Any] = json.loads(self.read())
        return outcome


MakeWorkers = Callable[[Rig], list[Worker]]


@pytest.fixture
def make_workers(redis_server: RedisServer) -> Iterator[MakeWorkers]:
    started: list[Worker] = []

    def make(rig: Rig) -> list[Worker]:
        started.extend(Worker(rig, redis_server, database) for database in (2, 3))
        assert [worker.read() for worker in started] == ["ready\n"] * 2
        return started

    yield make
    for worker in started:
        worker.process.kill()
        worker.process.communicate()


@pytest.mark.parametrize("after", ["archive", "delete", "keep"])
def test_two_workers_on_one_arrival_at_the_same_moment_leave_what_one_would(
    make_rig: MakeRig, make_workers: MakeWorkers, after: str
) -> None:
    rig = make_rig(after=after)
    workers = make_workers(rig)
    dropped = several(*(f"trip/{number}.jpg" for number in range(12)), *(f"{number}.png" for number in range(12)))
    ends: Counter[str] = Counter()
    for name, content in dropped.items():
        arrival = rig.put(name, content)
        for worker in workers:
            worker.begin(arrival)
        outcomes = [worker.outcome() for worker in workers]
        ends["+".join(sorted(outcome["outcome"] for outcome in outcomes))] += 1
        # The slower one may find the file gone, by an archive or a deletion; it looks again later and finds nothing.
        assert {o["outcome"] for o in outcomes} <= {"done", "duplicate", "put_off"}, outcomes
        assert {o.get("reason", "gone") for o in outcomes} <= {"gone", "superseded"}, outcomes
        assert "done" in {o["outcome"] for o in outcomes}, outcomes
        slots = {o["slot"] for o in outcomes if "slot" in o}
        assert slots == {name[:-4] if "/" in name else f"uncategorized/{name[:-4]}"}
    sys.stdout.write(f"{after}: {dict(ends)}\n")
    assert rig.files("quarantine") == []
    if after == "archive":
        assert_every_image_is_whole(rig, dropped)
    else:
        assert rig.files("originals") == []
        assert len(rig.files("thumbnails")) == 2 * len(dropped)
    left = sorted(str(path.relative_to(rig.inbox)) for path in rig.inbox.rglob("*") if path.is_file())
    assert left == (sorted(dropped) if after == "keep" else [])


def test_two_workers_on_two_images_of_one_name_at_the_same_moment_give_each_its_own(
    make_rig: MakeRig, make_workers: MakeWorkers
) -> None:
    rig = make_rig(category={"default": "all"})
    workers = make_workers(rig)
    dropped = several(*(f"{folder}/{number}.jpg" for number in range(12) for folder in ("a", "b")))
    for number in range(12):
        names = f"a/{number}.jpg", f"b/{number}.jpg"
        for worker, name in zip(workers, names, strict=True):
            worker.begin(rig.put(name, dropped[name]))
        slots = [worker.outcome()["slot"] for worker in workers]
        assert f"all/{number}" in slots
        assert slots[0] != slots[1]
    assert_every_image_is_whole(rig, dropped)
