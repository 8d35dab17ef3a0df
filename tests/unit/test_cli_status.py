"""What `thumbdrop status` makes of the answers it gets, and how it words them."""

import json
from typing import Any

import pytest

from config.settings import Settings
from tasks.leases import Record
from watcher.asking import Answer
from watcher.standing import Standing
from watcher.status import Status, put_together
from watcher.status_questions import StoreFacts
from watcher.status_text import status_lines

NOW = 1_700_000_000.0
SETTINGS = Settings.model_validate(
    {
        "inbox": [{"path": "/srv/inbox", "name": "photos"}],
        "library": {"path": "/srv/library"},
        "broker": {"url": "redis://:secret@host:6379/0"},
    }
)
REPORT = {
    "host": "vm",
    "pid": 7,
    "state": "watching",
    "backend": "inotify",
    "why": "ext4 is local",
    "watches": 3,
    "online": True,
    "offline_why": "",
    "scan": {"running": False, "finished_at": NOW - 12, "seconds": 0.25, "files": 5},
    "waiting": {"settling": 2},
    "ignored": {"suffix": 4, "hidden": 1},
    "missed_events": 0,
    "in_flight": 2,
    "troubles": [],
    "broker": "ok",
    "at": NOW,
}


def status(report: dict[str, Any] | None = None, **changed: Any) -> Status:
    store = StoreFacts(
        reports={"photos": REPORT if report is None else report} if report != {} else {},
        flights={"photos": {"a": "working", "b": "published"}},
        records={
            "photos": [Record(reason="truncated", not_before=NOW + 30), Record(reason="truncated", not_before=NOW + 9)]
        },
        put_off={"photos": 2},
        counts={"done": 40, "quarantined": 2},
        paused=None,
        beat={"sweep": NOW - 60},
    )
    answers: dict[str, Answer[Any]] = {
        "store": Answer(store),
        "broker": Answer(value=None),
        "workers": Answer(["thumbdrop-1@vm"]),
        "quarantine": Answer(2),
        "inbox photos": Answer(Standing(files=3, oldest_at=NOW - 60)),
    }
    return put_together(SETTINGS, answers | changed, NOW)


def text(found: Status) -> str:
    return "\n".join(f"{label} {words}".rstrip() for label, words, _ in status_lines(found))


def test_when_all_is_well_there_are_no_problems() -> None:
    found = status()
    assert found.problems == ()
    assert all(is_well for _, _, is_well in status_lines(found))


def test_everything_the_contract_promises_is_told() -> None:
    told = text(status())
    for words in (
        "ok, redis://:***@host:6379/0",
        "1 worker: thumbdrop-1@vm",
        "sweep 1 min ago",
        "so far 40 done, 2 quarantined; 2 in quarantine now",
        "inbox photos watching by vm pid 7, /srv/inbox",
        "backend inotify, 3 watches (ext4 is local)",
        "waiting 3 files, the oldest for 1 min",
        "in flight 2 (1 being worked on)",
        "put off 2 truncated, next try in 9 s",
        "ignored 4 suffix, 1 hidden",
        "last scan 12 s ago, 5 files in 0.2 s",
    ):
        assert words in told
    assert "secret" not in told
    assert "secret" not in json.dumps(status().as_json())


def test_an_inbox_that_could_not_be_counted_shows_the_watcher_s_number() -> None:
    (inbox,) = status(None, **{"inbox photos": Answer(Standing())}).inboxes
    assert (inbox.waiting, inbox.waiting_has_more) == (6, False), "2 in its table, 2 in flight, 2 put off"


def test_what_could_not_be_counted_to_the_end_is_told_so() -> None:
    found = status(None, **{"inbox photos": Answer(Standing(files=7000, has_more=True, oldest_at=NOW - 60))})
    assert "waiting at least 7000 files, the oldest for at least 1 min" in text(found)
    assert found.as_json()["inboxes"][0]["waiting_has_more"] is True
    found = status(
        REPORT | {"waiting": {"ready": 64}, "waiting_has_more": True}, **{"inbox photos": Answer(Standing())}
    )
    assert "waiting at least 68 files\n" in text(found)


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"workers": Answer([])}, "no worker answers"),
        ({"workers": Answer(None, "no answer within 3 s")}, "no worker answers"),
        ({"broker": Answer(None, "refused")}, "broker: refused"),
        ({"store": Answer(None, "refused")}, "result store: refused"),
        ({"report": {}}, "inbox photos: nobody watches it"),
        ({"report": REPORT | {"online": False, "offline_why": "is missing"}}, "inbox photos: is missing"),
        ({"report": REPORT | {"troubles": ["out of watches"]}}, "inbox photos: out of watches"),
        ({"inbox photos": Answer(Standing(offline_why="is gone"))}, "inbox photos: is gone"),
    ],
)
def test_whatever_is_missing_or_offline_is_a_problem(changed: dict[str, Any], problem: str) -> None:
    found = status(**changed)
    assert problem in found.problems
    assert problem in text(found)


def test_a_paused_library_and_late_periodic_jobs_are_problems() -> None:
    store = status_store(paused={"reason": "no_space", "message": "no room"}, beat={"sweep": NOW - 4000})
    assert status(store=store).problems == ("beat: periodic jobs are late", "paused: no room")


def test_a_standby_is_no_problem() -> None:
    assert status(report=REPORT | {"state": "standby"}).problems == ()


def status_store(**changed: Any) -> Answer[StoreFacts]:
    fields: dict[str, Any] = {
        "reports": {"photos": REPORT},
        "flights": {},
        "records": {},
        "put_off": {},
        "counts": {},
        "paused": None,
        "beat": {},
    }
    return Answer(StoreFacts(**(fields | changed)))
