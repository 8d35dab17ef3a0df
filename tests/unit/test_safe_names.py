import os

import pytest

from tasks.safe_names import MAX_COMPONENT_BYTES, safe_component, safe_path


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("Holiday 2024", "Holiday 2024"),
        ("..", "_"),
        (".", "_"),
        ("", "_"),
        ("   ", "_"),
        (".thumbdrop", "thumbdrop"),
        (". . hidden. .", "hidden"),
        ("../../etc/passwd", "_.._etc_passwd"),
        ("a/b\\c", "a_b_c"),
        ("a\nb\x1b[0m\x7f\x85", "a_b_[0m__"),
        ("trip.jpg", "trip_jpg"),
        ("trip.JPG", "trip_JPG"),
        ("trip.json", "trip_json"),
        ("x.tif.webp", "x.tif_webp"),
        ("v1.2", "v1.2"),
        (".jpg", "jpg"),
        ("a.jpg .", "a_jpg"),
        ("\u00e9t\u00e9", "\u00e9t\u00e9"),
        (os.fsdecode(b"caf\xe9"), os.fsdecode(b"caf\xe9")),
    ],
)
def test_a_component_is_harmless(text: str, safe: str) -> None:
    assert safe_component(text) == safe
    assert safe_component(safe) == safe


@pytest.mark.parametrize(
    "text", ["x" * 300, "\u00e9" * 80, "x" * 90 + "." * 30 + "y", os.fsdecode(b"\xff" * 101), "a" * 97 + ".jpg"]
)
def test_a_long_component_is_cut_between_characters_and_stays_its_own(text: str) -> None:
    cut = safe_component(text)
    assert len(os.fsencode(cut)) <= MAX_COMPONENT_BYTES
    assert cut != safe_component(text + "z")
    assert cut.startswith(text[:30])


def test_a_component_of_exactly_the_limit_is_not_cut() -> None:
    assert safe_component("x" * MAX_COMPONENT_BYTES) == "x" * MAX_COMPONENT_BYTES


def test_slashes_of_the_template_make_folders_and_slashes_of_values_do_not() -> None:
    assert safe_path("by camera/{camera}/{year}", {"camera": "a/../b", "year": "2024"}) == "by camera/a_.._b/2024"
    assert safe_path("/a//b/", {}) == "a/b"
    assert safe_path("{a}{b}", {"a": ".", "b": "."}) == "_"


def test_a_missing_value_means_no_path() -> None:
    assert safe_path("x/{year}", {"year": None}) is None
    assert safe_path("/", {}) is None
