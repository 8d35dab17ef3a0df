"""Files that end their workers: set aside with the right reason, while the others go on; and good files that only had bad luck."""

import os
import re
import resource
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from images import encoded, image_bytes
from misbehaving import DEEDS, image_that, let_go, misbehaving, times_begun, wait_begun
from running import SETTINGS, MakeThumbdrop, Thumbdrop
from waiting import wait_until

pytestmark = [pytest.mark.faults]

TASK_SECONDS = 6


def limits(max_attempts: int) -> str:
    return f'{SETTINGS}\n[limits]\ntask_time = "{TASK_SECONDS}s"\nmax_attempts = {max_attempts}\n'


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """Where the decoders that misbehave come from, and leave their marks."""
    folder = tmp_path / "site"
    folder.mkdir()
    return folder


def why(thumbdrop: Thumbdrop, name: str) -> dict[str, Any]:
    return dict(thumbdrop.command("why", f"inbox/{name}", "--json").json)


def put_off(thumbdrop: Thumbdrop) -> dict[str, int]:
    """What `status` says about files that are tried again: how many for each reason."""
    inbox = thumbdrop.command("status", "--json").json["inboxes"][0]
    return {group["reason"]: group["count"] for group in inbox["put_off"]}


def assert_all_is_well(thumbdrop: Thumbdrop) -> None:
    status = thumbdrop.command("status", "--json").json
    assert status["problems"] == []
    assert status["inboxes"][0]["put_off"] == []
    assert thumbdrop.standing() == []


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_file_that_crashes_its_decoder_is_set_aside_after_as_many_attempts_as_it_is_given(
    make_thumbdrop: MakeThumbdrop, site: Path
) -> None:
    thumbdrop = make_thumbdrop(limits(max_attempts=2), environ=misbehaving(site))
    up = thumbdrop.start("up", "--workers", "2")
    worker = thumbdrop.pid("worker")
    thumbdrop.drop("bad.png", image_that("segfaults"))
    story = wait_until(lambda: (s := why(thumbdrop, "bad.png"))["state"] == "retrying" and s, "why tells of it", 20)
    assert story["reason"] == "crashed_worker"
    assert "SIGSEGV" in story["story"][0]
    assert put_off(thumbdrop) == {"crashed_worker": 1}
    thumbdrop.drop("good.png", image_bytes("png"))

    thumbdrop.wait_quarantined(1)
    thumbdrop.wait_done(1)
    reason = thumbdrop.reasons()["inbox/bad.png"]
    assert (reason["reason"], reason["attempts"]) == ("crashed_worker", 2)
    assert "SIGSEGV" in reason["message"]
    assert times_begun(site, "segfaults") == 2, "the attempt that set it aside did not decode it"
    story = why(thumbdrop, "bad.png")
    assert (story["state"], story["reason"]) == ("quarantined", "crashed_worker")
    assert thumbdrop.pid("worker") == worker, "only children died"
    assert up.text.count("image.attempt_lost") == 2
    assert_all_is_well(thumbdrop)


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_file_that_never_ends_is_set_aside_and_holds_the_others_up_for_no_longer_than_one_task_may_take(
    make_thumbdrop: MakeThumbdrop, site: Path
) -> None:
    thumbdrop = make_thumbdrop(limits(max_attempts=2), environ=misbehaving(site))
    up = thumbdrop.start("up", "--workers", "2")
    thumbdrop.drop("endless.png", image_that("never ends"))
    wait_begun(site, "never ends")
    story = why(thumbdrop, "endless.png")
    assert (story["state"], story["lease"]) == ("in_flight", "working")

    began_at = time.monotonic()
    for number in range(30):
        thumbdrop.drop(f"good {number}.png", image_bytes("png", 300 + number))
    wait_until(lambda: len(thumbdrop.manifests()) == 30, "the others are done", TASK_SECONDS)
    assert time.monotonic() - began_at < TASK_SECONDS
    wait_until(lambda: len(thumbdrop.standing()) == 1, "their originals are archived too")

    wait_until(lambda: put_off(thumbdrop) == {"timed_out": 1}, "status names it", 20)
    thumbdrop.wait_quarantined(1)
    reason = thumbdrop.reasons()["inbox/endless.png"]
    assert (reason["reason"], reason["attempts"]) == ("timed_out", 2)
    assert reason["message"].startswith("took longer than 6 s, or 30 s of processor time, 2 times")
    assert "limits.task_time" in reason["message"]
    story = why(thumbdrop, "endless.png")
    assert (story["state"], story["reason"]) == ("quarantined", "timed_out")
    assert times_begun(site, "never ends") == 2, "the attempt that set it aside did not decode it"
    assert up.text.count("image.attempt_lost") == 2
    assert_all_is_well(thumbdrop)


def test_a_file_that_takes_more_memory_than_there_is_leaves_its_worker_alive(
    make_thumbdrop: MakeThumbdrop, site: Path
) -> None:
    thumbdrop = make_thumbdrop(environ=misbehaving(site))
    thumbdrop.start("up", "--workers", "1")
    worker, child = thumbdrop.pid("worker"), thumbdrop.pid("worker child")
    thumbdrop.drop("first.png", image_bytes("png"))  # so that everything that it needs is loaded
    thumbdrop.wait_done(1)
    thumbdrop.drop("raises.png", image_that("exhausts memory"))
    thumbdrop.wait_quarantined(1)

    used_kib = int(Path(f"/proc/{child}/status").read_text().split("VmSize:")[1].split()[0])
    limit = used_kib * 1024 + 60_000_000
    resource.prlimit(child, resource.RLIMIT_AS, (limit, limit))
    thumbdrop.drop("huge.png", encoded(Image.new("RGB", (6000, 6000)), "png"))  # 108 MB of pixels
    thumbdrop.wait_quarantined(2)
    thumbdrop.drop("last.png", image_bytes("png", 200))
    thumbdrop.wait_done(2)

    assert {reason["reason"] for reason in thumbdrop.reasons().values()} == {"too_much_memory"}
    assert (thumbdrop.pid("worker"), thumbdrop.pid("worker child")) == (worker, child)
    assert why(thumbdrop, "huge.png")["reason"] == "too_much_memory"
    assert_all_is_well(thumbdrop)


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_what_takes_more_than_the_kernel_may_give_ends_with_a_reason_and_costs_at_most_its_own_child(
    make_thumbdrop: MakeThumbdrop, site: Path
) -> None:
    settings = limits(max_attempts=2).replace(f'"{TASK_SECONDS}s"', '"60s"') + 'cpu_time = "2s"\n'
    programs = site / "programs"
    programs.mkdir()
    (programs / "gs").write_text(f"#!/bin/sh\necho started >>{site}/gs\n")
    (programs / "gs").chmod(0o755)
    path = {"PATH": f"{programs}:{os.environ['PATH']}"}
    thumbdrop = make_thumbdrop(settings, environ=misbehaving(site) | path)
    thumbdrop.start("up", "--workers", "1")
    worker, child = thumbdrop.pid("worker"), thumbdrop.pid("worker child")
    thumbdrop.drop("eps.jpg", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n")
    thumbdrop.drop("asks.png", image_that("asks for memory"))
    thumbdrop.drop("looks.png", image_that("looks for a program"))
    thumbdrop.wait_quarantined(2)
    thumbdrop.wait_done(1)
    assert thumbdrop.pid("worker child") == child, "none of them cost a child"
    assert not (site / "gs").exists(), "nobody started Ghostscript"
    status = Path(f"/proc/{child}/status").read_text()
    assert "NoNewPrivs:\t1" in status
    assert resource.prlimit(child, resource.RLIMIT_CORE) == (0, 0)

    thumbdrop.drop("computes.png", image_that("computes for ever"))
    thumbdrop.wait_quarantined(3)
    child = thumbdrop.pid("worker child")
    thumbdrop.drop("leaks.png", image_that("leaks"))
    thumbdrop.wait_done(2)
    wait_until(
        lambda: child not in thumbdrop.pids().get("worker child", [child]), "a child that has grown is replaced", 20
    )
    thumbdrop.drop("good.png", image_bytes("png"))
    thumbdrop.wait_done(3)
    reasons = thumbdrop.reasons()
    assert {name: found["reason"] for name, found in reasons.items()} == {
        "inbox/eps.jpg": "unsupported_format",
        "inbox/asks.png": "too_much_memory",
        "inbox/computes.png": "timed_out",
    }
    assert "limits.cpu_time" in reasons["inbox/computes.png"]["message"]
    assert reasons["inbox/computes.png"]["attempts"] == 2
    assert thumbdrop.pid("worker") == worker, "only children died"
    assert_all_is_well(thumbdrop)


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_good_file_whose_children_are_killed_from_outside_is_done_in_the_end(
    make_thumbdrop: MakeThumbdrop, site: Path
) -> None:
    settings = limits(max_attempts=1).replace(f'"{TASK_SECONDS}s"', '"60s"')
    thumbdrop = make_thumbdrop(settings, environ=misbehaving(site))
    up = thumbdrop.start("up", "--workers", "2")
    content = image_that("waits")
    thumbdrop.drop("slow.png", content)
    for times, number in enumerate([signal.SIGKILL, signal.SIGTERM], 1):
        wait_begun(site, "waits", times)
        os.kill(int((site / f"began-{DEEDS['waits']}").read_text().split()[-1]), number)
        story = wait_until(
            lambda: (s := why(thumbdrop, "slow.png"))["state"] == "retrying" and s, "why tells of it", 20
        )
        assert (story["reason"], story["attempts"]) == ("lost_worker", times)
        assert signal.Signals(number).name in story["story"][0]
    assert put_off(thumbdrop) == {"lost_worker": 1}
    let_go(site)
    thumbdrop.wait_done(1)
    waits = re.findall(r"image.attempt_lost .*wait_seconds=(\S+) ", up.text)
    assert [float(wait) for wait in waits] == [5, 10]
    assert thumbdrop.reasons() == {}
    assert_all_is_well(thumbdrop)
