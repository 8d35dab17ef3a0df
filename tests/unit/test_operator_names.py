import datetime as dt
from pathlib import Path

import pytest

from config import names


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/srv/thumbdrop/inbox", "inbox"),
        ("/srv/Fotos von Zoë/", "Fotos-von-Zoe"),
        ("/srv/.hidden", "hidden"),
        ("/srv/日本", "inbox"),
        ("/", "inbox"),
        ("/srv/a/..", "srv"),
        ("/srv/" + "x" * 200, "x" * 64),
        ("/srv/_in-box.2", "_in-box.2"),
    ],
)
def test_an_inbox_is_called_like_the_last_part_of_its_path(path: str, name: str) -> None:
    assert names.inbox_name_from(path) == name
    assert names.parse_inbox_name(name) == name


@pytest.mark.parametrize("name", [".hidden", "-x", "a b", "a/b", "a:b", "x" * 65, "ü", "a\n", 5])
def test_a_name_that_is_no_good_folder_or_key_is_refused(name: object) -> None:
    with pytest.raises(ValueError, match="1 to 64 letters"):
        names.parse_inbox_name(name)


@pytest.mark.parametrize("glob", ["*", "**", "*.*", "**/*", "*/*", "*?*", "**.*", "*/*.*", ""])
def test_a_glob_that_ignores_everything_is_refused(glob: str) -> None:
    with pytest.raises(ValueError, match="does not match everything"):
        names.parse_ignore_glob(glob)


@pytest.mark.parametrize("glob", ["*.bak", "drafts/", "*/", "IMG_*", "*.jp*g", ".*", "*~", "a*", "*/raw/*"])
def test_other_globs_are_fine(glob: str) -> None:
    assert names.parse_ignore_glob(glob) == glob


@pytest.mark.parametrize(("given", "suffix"), [("jpg", "jpg"), (".JPG", "jpg"), ("3FR", "3fr")])
def test_suffixes_lose_their_dot_and_their_capitals(given: str, suffix: str) -> None:
    assert names.parse_suffix(given) == suffix


@pytest.mark.parametrize("given", ["", ".", "*.jpg", "tar.gz", "j pg", 3])
def test_what_is_no_suffix_is_refused(given: object) -> None:
    with pytest.raises(ValueError, match="suffix"):
        names.parse_suffix(given)


@pytest.mark.parametrize(
    "template",
    ["{folder}", "phones/{year}", "{inbox}/{year}-{month}-{day}/{camera}", "by {format}/{orientation}", "Ümlaut"],
)
def test_categories_are_folder_names_with_placeholders(template: str) -> None:
    assert names.parse_template(template) == template


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{maker}", "of placeholders only {folder}"),
        ("{year", "of placeholders only"),
        ("{{year}}", "of placeholders only"),
        ("{}", "of placeholders only"),
        ("{year:04}", "of placeholders only"),
        ("{folder.__class__}", "of placeholders only"),
        ("../x", "none beginning with a dot"),
        ("x/../y", "none beginning with a dot"),
        ("/x", "none empty"),
        ("x/", "none empty"),
        ("x//y", "none empty"),
        ("x/ /y", "none empty"),
        (".hidden", "none beginning with a dot"),
        ("x/.by-source", "none beginning with a dot"),
        ("", "none empty"),
        ("a\nb", "text"),
        ("a\0b", "text"),
        (5, "text"),
    ],
)
def test_a_category_that_could_leave_its_place_is_refused(template: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        names.parse_template(template)


@pytest.mark.parametrize("day", ["2024-02-29", dt.date(2024, 2, 29)])
def test_days_are_text_or_toml_dates(day: object) -> None:
    assert names.parse_day(day) == "2024-02-29"


@pytest.mark.parametrize(
    "day", ["2023-02-29", "2024-2-9", "20240229", "2024-02-29T10:00", 2024, "", dt.datetime(2024, 1, 1, tzinfo=dt.UTC)]
)
def test_days_that_are_not_in_the_calendar_are_refused(day: object) -> None:
    with pytest.raises(ValueError, match="calendar"):
        names.parse_day(day)


def test_an_image_format_must_be_one_that_there_is() -> None:
    assert names.parse_image_format("HEIC") == "heic"
    assert names.parse_image_format("jpg") == "jpeg"
    for unknown in ("psd", "jpe*", "", None):
        with pytest.raises(ValueError, match="jpeg, png"):
            names.parse_image_format(unknown)


@pytest.mark.parametrize("path", ["", "~/inbox", "~root/x", "a\0b", "caf\udce9", 5, None])
def test_a_directory_that_means_nothing_or_something_else_to_each_user_is_refused(path: object) -> None:
    with pytest.raises(ValueError, match="a directory"):
        names.parse_path(path)


def test_directories_are_paths() -> None:
    assert names.parse_path("/srv/in box") == names.parse_path(Path("/srv/in box")) == Path("/srv/in box")


@pytest.mark.parametrize("colour", ["white", "#fff", "ffffff", "#gggggg", "#ffffff\n", 0])
def test_colours_are_six_hex_digits(colour: object) -> None:
    assert names.parse_background("#FFaa00") == "#FFaa00"
    with pytest.raises(ValueError, match="hex"):
        names.parse_background(colour)
