"""An arrival and its message: the same facts give the same id everywhere, and any name survives the trip."""

import json
import os

import pytest

from tasks.messages import Arrival, UnknownVersionError, from_message, to_message

NOT_UTF8 = os.fsdecode(b"caf\xe9\n.jpg")


def test_the_arrival_id_depends_on_nothing_but_the_facts() -> None:
    arrival = Arrival("inbox", "a/b.jpg", 10, 1_700_000_000_000_000_001)
    assert arrival.id == "610262a9-ddaf-5f38-a13b-6d87b629b411"  # written down: a new version must find old results


@pytest.mark.parametrize("changed", [{"inbox": "other"}, {"path": "a/c.jpg"}, {"size_bytes": 11}, {"mtime_ns": 6}])
def test_a_changed_file_is_a_new_arrival(changed: dict[str, object]) -> None:
    facts = {"inbox": "inbox", "path": "a/b.jpg", "size_bytes": 10, "mtime_ns": 5}
    assert Arrival(**facts).id != Arrival(**(facts | changed)).id  # type: ignore[arg-type]


def test_a_name_that_is_not_utf8_survives_the_trip_through_json() -> None:
    arrival = Arrival("inbox", NOT_UTF8, 10, 5)
    message = json.loads(json.dumps(to_message(arrival, "token")).encode("ascii"))
    assert from_message(message) == (arrival, "token")
    assert os.fsencode(from_message(message)[0].path) == b"caf\xe9\n.jpg"


def test_a_message_carries_no_absolute_path_and_only_json_primitives() -> None:
    message = to_message(Arrival("inbox", "a/b.jpg", 10, 5), "token")
    assert all(isinstance(value, str | int) for value in message.values())
    assert not any(str(value).startswith("/") for value in message.values())


def test_a_message_of_another_version_is_told_apart() -> None:
    message = to_message(Arrival("inbox", "a.jpg", 1, 2), "token") | {"version": 2}
    with pytest.raises(UnknownVersionError, match="2"):
        from_message(message)
