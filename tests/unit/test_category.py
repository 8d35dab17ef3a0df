import os
from dataclasses import replace
from typing import Any

import pytest

from config.names import PLACEHOLDERS
from config.settings import CategorySettings, RuleSettings
from tasks.category import choose_category, shape_of
from tasks.facts import ImageFacts
from tasks.messages import Arrival

FACTS = ImageFacts("jpeg", 4000, 3000, 1, "2024-05-06T07:08:09", "Apple iPhone 11", 1)
BARE = replace(FACTS, taken=None, camera=None)
ARRIVAL = Arrival("phones", "Anna/2024/IMG_1.jpg", 1, 1)
TOP = Arrival("phones", "IMG_1.jpg", 1, 1)


def rules(*written: dict[str, Any], default: str = "{folder}") -> CategorySettings:
    return CategorySettings(default=default, rule=tuple(RuleSettings.model_validate(rule) for rule in written))


def test_without_rules_the_first_folder_is_the_category() -> None:
    assert choose_category(rules(), FACTS, ARRIVAL) == "Anna"


def test_a_file_at_the_top_is_uncategorized() -> None:
    assert choose_category(rules(), FACTS, TOP) == "uncategorized"


@pytest.mark.parametrize("placeholder", PLACEHOLDERS)
def test_every_placeholder_that_settings_may_hold_is_known(placeholder: str) -> None:
    assert choose_category(rules(default=f"{{{placeholder}}}"), FACTS, ARRIVAL) != "uncategorized"


def test_a_default_that_needs_a_missing_fact_is_uncategorized() -> None:
    assert choose_category(rules(default="{year}/{month}"), BARE, ARRIVAL) == "uncategorized"
    assert choose_category(rules(default="{year}/{month}"), FACTS, ARRIVAL) == "2024/05"


def test_the_first_rule_that_matches_wins() -> None:
    settings = rules(
        {"name": "no", "format": "png"}, {"name": "one", "inbox": "phones"}, {"name": "two", "inbox": "phones"}
    )
    assert choose_category(settings, FACTS, ARRIVAL) == "one"


def test_all_conditions_must_hold() -> None:
    assert choose_category(rules({"name": "x", "inbox": "phones", "min_width": 4001}), FACTS, ARRIVAL) == "Anna"
    assert choose_category(rules({"name": "x", "inbox": "phones", "min_width": 4000}), FACTS, ARRIVAL) == "x"


@pytest.mark.parametrize(
    ("condition", "value", "matches"),
    [
        ("inbox", "phones", True),
        ("inbox", "scans", False),
        ("path", "Anna/*", True),
        ("path", "*/IMG_*.jpg", True),
        ("path", "anna/*", False),
        ("path", "IMG_*", False),
        ("format", "jpeg", True),
        ("format", "png", False),
        ("orientation", "landscape", True),
        ("orientation", "portrait", False),
        ("camera", "*iPhone*", True),
        ("camera", "*IPHONE 11", True),
        ("camera", "iPhone", False),
        ("min_width", 4000, True),
        ("min_width", 4001, False),
        ("min_height", 3000, True),
        ("min_height", 3001, False),
        ("min_megapixels", 12, True),
        ("min_megapixels", 12.1, False),
        ("taken_after", "2024-05-06", True),
        ("taken_after", "2024-05-07", False),
        ("taken_before", "2024-05-07", True),
        ("taken_before", "2024-05-06", False),
    ],
)
def test_each_condition(condition: str, value: object, matches: bool) -> None:
    settings = rules({"name": "matched", condition: value}, default="other")
    assert (choose_category(settings, FACTS, ARRIVAL) == "matched") == matches


@pytest.mark.parametrize("rule", [{"camera": "*"}, {"taken_after": "1900-01-01"}, {"taken_before": "2900-01-01"}])
def test_a_condition_on_a_missing_fact_is_not_met(rule: dict[str, Any]) -> None:
    assert choose_category(rules({"name": "matched", **rule}, default="other"), BARE, ARRIVAL) == "other"


@pytest.mark.parametrize("placeholder", ["year", "month", "day", "camera", "folder"])
def test_a_name_that_needs_a_missing_fact_leaves_it_to_the_next_rule(placeholder: str) -> None:
    settings = rules({"name": f"a/{{{placeholder}}}"}, {"name": "next"})
    assert choose_category(settings, BARE, TOP) == "next"


def test_every_placeholder_is_filled_in() -> None:
    name = "{inbox}/{folder}/{year}-{month}-{day}/{camera}/{format} {orientation}"
    category = choose_category(rules({"name": name}), FACTS, ARRIVAL)
    assert category == "phones/Anna/2024-05-06/Apple iPhone 11/jpeg landscape"


def test_a_hostile_camera_cannot_leave_the_library_or_pose_as_a_file() -> None:
    facts = replace(FACTS, camera="../../evil.json")
    assert choose_category(rules({"name": "c/{camera}"}), facts, ARRIVAL) == "c/_.._evil_json"
    assert choose_category(rules({"name": "{camera}"}), replace(FACTS, camera=".."), ARRIVAL) == "_"


def test_a_folder_that_looks_like_a_file_is_no_category_as_it_stands() -> None:
    assert choose_category(rules(), FACTS, Arrival("phones", "trip.jpg/a.jpg", 1, 1)) == "trip_jpg"


def test_a_folder_that_is_not_utf_8_is_kept() -> None:
    folder = os.fsdecode(b"caf\xe9")
    assert choose_category(rules(), FACTS, Arrival("phones", f"{folder}/a.jpg", 1, 1)) == folder
    assert (
        choose_category(rules({"name": "m", "path": "caf?/*"}), FACTS, Arrival("phones", f"{folder}/a.jpg", 1, 1))
        == "m"
    )


def test_a_pattern_matches_a_name_in_the_other_unicode_form() -> None:
    arrival = Arrival("phones", "e\u0301te\u0301/a.jpg", 1, 1)
    assert choose_category(rules({"name": "summer", "path": "\u00e9t\u00e9/*"}), FACTS, arrival) == "summer"


def test_shapes_are_those_of_the_upright_picture() -> None:
    assert shape_of(FACTS) == "landscape"
    assert shape_of(replace(FACTS, width=3, height=4)) == "portrait"
    assert shape_of(replace(FACTS, width=4, height=4)) == "square"
