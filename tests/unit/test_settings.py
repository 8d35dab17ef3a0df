import pickle
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from config.settings import DEFAULT_SUFFIXES, InboxSettings, Settings


def settings(**sections: Any) -> Settings:
    return Settings.model_validate(sections)


def test_the_defaults_are_those_of_the_contract() -> None:
    default = Settings()
    inbox = default.inbox[0]
    assert (inbox.name, inbox.settle_seconds, inbox.after, inbox.suffixes) == (
        "inbox",
        None,
        "archive",
        DEFAULT_SUFFIXES,
    )
    assert (default.library.file_mode, default.library.dir_mode) == (0o644, 0o755)
    assert default.library.min_free_bytes == 10**9
    assert [size.box for size in default.thumbnails.sizes] == [(1280, 1280), (640, 640), (200, 200)]
    assert default.broker.url == "embedded"
    assert default.results.expire_seconds == 86400
    assert default.watcher.rescan_seconds == 30
    assert (default.limits.max_bytes, default.limits.max_pixels) == (256 * 10**6, 250_000_000)
    assert (default.limits.truncated_grace_seconds, default.limits.empty_grace_seconds) == (86400, 600)
    assert default.quarantine.keep_seconds == 90 * 86400


def test_settings_are_frozen_hashable_and_travel_to_other_processes() -> None:
    one = settings(inbox=[{"path": "/srv/in"}], thumbnails={"sizes": [{"size": "10x10", "fit": "cover"}]})
    assert pickle.loads(pickle.dumps(one)) == one
    assert hash(one) == hash(one.model_copy())
    with pytest.raises(ValidationError):
        one.limits.max_attempts = 5  # type: ignore[misc]


def test_an_inbox_is_named_after_its_path_or_as_told() -> None:
    both = settings(inbox=[{"path": "/srv/Scans"}, {"path": "/srv/b", "name": "phones"}])
    assert [inbox.name for inbox in both.inbox] == ["Scans", "phones"]
    assert both.inbox_named("phones").path == Path("/srv/b")
    with pytest.raises(KeyError):
        both.inbox_named("other")


def test_a_size_is_a_box_or_a_table_of_what_differs() -> None:
    sizes = settings(
        thumbnails={"sizes": ["640x480", {"size": "200x200", "format": "webp", "quality": 80}]}
    ).thumbnails.sizes
    assert [(size.box, size.fit, size.format, size.quality) for size in sizes] == [
        ((640, 480), "contain", None, None),
        ((200, 200), "contain", "webp", 80),
    ]


def test_no_suffixes_means_all_known_ones() -> None:
    assert InboxSettings.model_validate({"suffixes": []}).suffixes == DEFAULT_SUFFIXES
    assert InboxSettings.model_validate({"suffixes": [".JPG", "jpg", "Png"]}).suffixes == ("jpg", "png")


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("limits", "max_attempts", "3"),
        ("limits", "max_attempts", True),
        ("limits", "max_attempts", 3.0),
        ("limits", "max_attempts", 0),
        ("limits", "max_pixels", 0),
        ("limits", "max_bytes", "0B"),
        ("limits", "task_time", "0s"),
        ("limits", "task_time", "31m"),
        ("watcher", "rescan", "0s"),
        ("watcher", "rescan", "9999999d"),
        ("watcher", "max_in_flight", 0),
        ("watcher", "max_in_flight", 100_000),
        ("results", "expire", "0s"),
        ("quarantine", "keep", "0s"),
        ("library", "file_mode", "0044"),
        ("library", "dir_mode", "0644"),
        ("library", "min_free", 0),
        ("library", "same_name", "none"),
        ("thumbnails", "quality", 0),
        ("thumbnails", "quality", 101),
        ("thumbnails", "sizes", []),
        ("thumbnails", "format", "gif"),
        ("category", "rule", [{"name": "x", "min_megapixels": float("inf")}]),
        ("category", "rule", [{"name": "x", "min_megapixels": "6"}]),
        ("category", "rule", [{"name": "x", "camera": ""}]),
        ("inbox", "require_mount", "yes"),
        ("inbox", "settle", "0s"),
    ],
)
def test_values_outside_their_kind_or_range_are_refused(section: str, key: str, value: object) -> None:
    table = {key: value}
    with pytest.raises(ValidationError) as refused:
        settings(**{section: [table] if section == "inbox" else table})
    assert refused.value.error_count() == 1


@pytest.mark.parametrize(("key", "value"), [("truncated_grace", "0s"), ("empty_grace", "0s")])
def test_no_patience_is_a_choice(key: str, value: str) -> None:
    settings(limits={key: value})


def test_printing_settings_shows_no_password() -> None:
    secret = settings(broker={"url": "amqp://me:s3cret@host/v"}, results={"url": "redis://:s3cret@host"})
    assert "s3cret" not in repr(secret)
    assert "s3cret" not in str(secret)


def test_a_refusal_shows_no_password() -> None:
    with pytest.raises(ValidationError) as refused:
        settings(broker={"url": "amqp//me:s3cret@host/v"})
    assert "s3cret" not in str(refused.value)


def test_what_is_written_reads_back_equal() -> None:
    one = settings(
        inbox=[{"path": "/srv/in", "settle": "1.5s", "ignore": ["*.bak"], "suffixes": ["jpg"], "watch": "poll"}],
        library={"path": "/srv/lib", "file_mode": "0640", "min_free": "1234567B"},
        thumbnails={"sizes": ["640x480", {"size": "200x200", "fit": "cover", "format": "webp", "quality": 80}]},
        category={"rule": [{"name": "x/{year}", "taken_after": "2024-02-29", "min_megapixels": 6.5, "format": "heic"}]},
        broker={"url": "amqp://me:s3cret@host/v"},
        results={"url": "redis://:s3cret@host", "expire": "36h"},
        state={"path": "/var/lib/x"},
    )
    assert Settings.model_validate(one.as_written()) == one
    assert Settings.model_validate(Settings().as_written()) == Settings()
