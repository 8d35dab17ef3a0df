from typing import Any

import pytest

from config.checks import cross_mistakes
from config.settings import Settings


def wrong(**sections: Any) -> dict[str, str]:
    """Key -> what is allowed."""
    return {mistake.key: mistake.allowed for mistake in cross_mistakes(Settings.model_validate(sections))}


def test_the_defaults_fit_together() -> None:
    assert wrong() == {}


@pytest.mark.parametrize("second", ["Scans", "scans", "SCANS"])
def test_two_inboxes_may_not_share_a_name_even_up_to_case(second: str) -> None:
    found = wrong(inbox=[{"path": "/a", "name": "Scans"}, {"path": "/b", "name": second}])
    assert list(found) == ["inbox[1].name"]
    assert "inbox[0] is called so" in found["inbox[1].name"]


def test_names_made_from_paths_may_not_be_the_same_either() -> None:
    assert list(wrong(inbox=[{"path": "/a/in"}, {"path": "/b/in"}, {"path": "/c/in"}])) == [
        "inbox[1].name",
        "inbox[2].name",
    ]


@pytest.mark.parametrize(
    "sizes",
    [
        ["10x10", "10x10"],
        ["10x10", {"size": "10x10", "fit": "cover"}],
        ["10x10", {"size": "10x10", "format": "jpeg"}],
        [{"size": "10x10", "quality": 5}, {"size": "10x10", "quality": 6}],
    ],
)
def test_two_sizes_may_not_share_a_file_name(sizes: list[Any]) -> None:
    found = wrong(thumbnails={"sizes": sizes})
    assert list(found) == ["thumbnails.sizes[1]"]
    assert "<stem>_10x10.jpg" in found["thumbnails.sizes[1]"]


def test_the_same_box_in_two_formats_is_fine() -> None:
    assert wrong(thumbnails={"sizes": ["10x10", {"size": "10x10", "format": "webp"}, "10x11"]}) == {}


@pytest.mark.parametrize("url", ["amqp://host/v", "amqps://host/v"])
def test_rabbitmq_needs_a_redis_for_the_results(url: str) -> None:
    found = wrong(broker={"url": url})
    assert list(found) == ["results.url"]
    assert "a Redis" in found["results.url"]
    assert wrong(broker={"url": url}, results={"url": "redis://host"}) == {}


@pytest.mark.parametrize("url", ["embedded", "redis://host", "sentinel://host:26379"])
def test_a_redis_broker_holds_the_results_itself(url: str) -> None:
    assert wrong(broker={"url": url}) == {}


def test_a_span_of_days_that_is_empty_is_a_mistake() -> None:
    rule = {"name": "x", "taken_after": "2024-05-02", "taken_before": "2024-05-02"}
    assert list(wrong(category={"rule": [rule]})) == ["category.rule[0].taken_before"]
    assert wrong(category={"rule": [rule | {"taken_before": "2024-05-03"}]}) == {}


def test_keys_that_are_wrong_already_are_left_out() -> None:
    settings = Settings.model_validate({"inbox": [{"path": "/a"}, {"path": "/a/b", "name": "A"}]})
    assert {mistake.key for mistake in cross_mistakes(settings)} == {"inbox[1].path", "inbox[1].name"}
    assert list(cross_mistakes(settings, lambda key: key == "inbox[0].path")) == []
