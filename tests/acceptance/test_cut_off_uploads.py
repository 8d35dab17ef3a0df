"""A cut-off upload, told by the installed program from its first half to its end: truncated is not broken."""

import hashlib
from pathlib import Path
from typing import Any

import pytest

from images import image_bytes, truncated
from running import SETTINGS, MakeThumbdrop, Thumbdrop, assert_complete
from waiting import wait_until

pytestmark = [pytest.mark.faults, pytest.mark.timeout(120)]


def patient(grace: str) -> str:
    return f'{SETTINGS}\n[limits]\ntruncated_grace = "{grace}"\n'


def why(thumbdrop: Thumbdrop, path: Path) -> dict[str, Any]:
    told: dict[str, Any] = thumbdrop.command("why", "--json", str(path)).json
    return told


def wait_for_state(thumbdrop: Thumbdrop, path: Path, state: str, seconds: float = 30) -> dict[str, Any]:
    return wait_until(
        lambda: (told := why(thumbdrop, path))["state"] == state and told, f"why says {state}", seconds, every=0.2
    )


def put_off(thumbdrop: Thumbdrop) -> list[dict[str, Any]]:
    (inbox,) = thumbdrop.command("status", "--json").json["inboxes"]
    found: list[dict[str, Any]] = inbox["put_off"]
    return found


def test_a_cut_off_upload_waits_under_its_own_name_and_completes_when_its_client_resumes(
    make_thumbdrop: MakeThumbdrop,
) -> None:
    thumbdrop = make_thumbdrop(patient("24h"))
    thumbdrop.start("up")
    content = image_bytes("jpeg", 1200, 900)
    path = thumbdrop.copy("trip/photo.jpg", truncated(content, 0.4))

    told = wait_for_state(thumbdrop, path, "retrying")
    assert (told["reason"], told["tries"], told["attempts"]) == ("truncated", 1, 0)
    assert told["not_before"] - told["first_at"] == pytest.approx(30, abs=2)
    assert told["gives_up_at"] - told["first_at"] == pytest.approx(86400, abs=2)
    text = thumbdrop.command("why", str(path)).text
    assert "tried again in" in text
    assert "[truncated]" in text
    assert "put off 1 time" in text
    assert "its client may go on with it for 24 h more" in " ".join(text.split())
    assert [(group["reason"], group["count"]) for group in put_off(thumbdrop)] == [("truncated", 1)]
    assert thumbdrop.standing() == ["trip/photo.jpg"]
    assert path.read_bytes() == truncated(content, 0.4)

    with path.open("ab") as client:  # it resumes, stalls, and ends
        client.write(content[len(truncated(content, 0.4)) : len(truncated(content, 0.8))])
        client.flush()
        told = wait_for_state(thumbdrop, path, "settling")
        wait_until(lambda: why(thumbdrop, path).get("settle_why") == "writer", "the writer is seen", 20, every=0.2)
        assert thumbdrop.manifests() == {}
        client.write(content[len(truncated(content, 0.8)) :])
    thumbdrop.wait_done(1)
    assert why(thumbdrop, path)["state"] == "done"
    assert put_off(thumbdrop) == [], "the trouble is over"
    assert_complete(thumbdrop, {"trip/photo.jpg": content})


def test_a_cut_off_upload_that_nobody_resumes_is_quarantined_when_its_grace_ends_and_not_while_it_is_written(
    make_thumbdrop: MakeThumbdrop,
) -> None:
    thumbdrop = make_thumbdrop(patient("4s"))
    thumbdrop.start("up")
    content = truncated(image_bytes("jpeg", 1200, 900))
    held, left = thumbdrop.inbox / "held.jpg", thumbdrop.copy("left.jpg", content)
    thumbdrop.copy("held.jpg", content)
    wait_for_state(thumbdrop, held, "retrying")
    with held.open("ab"):  # the client is back, and says nothing
        thumbdrop.wait_quarantined(1)
        (reason,) = thumbdrop.reasons().values()
        assert (reason["reason"], reason["source"]["path"]) == ("truncated", "left.jpg")
        assert reason["sha256"] == hashlib.sha256(content).hexdigest()
        told = why(thumbdrop, left)
        assert (told["state"], told["reason"]) == ("quarantined", "truncated")
        assert Path(told["file"]).read_bytes() == content
        told = why(thumbdrop, held)
        assert told["state"] in {"retrying", "settling", "due"}, told
        assert held.read_bytes() == content
    thumbdrop.wait_quarantined(2)
    assert why(thumbdrop, held)["state"] == "quarantined"
    assert thumbdrop.standing() == []
    assert put_off(thumbdrop) == []
    assert thumbdrop.manifests() == {}
    assert thumbdrop.command("status", "--json").json["counts"] == {"quarantined": 2}
