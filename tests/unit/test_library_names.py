"""Names in the library: always of a legal length, never hidden, never cut through a character."""

import os

import pytest

from tasks.library_names import cut, join_name, marked_name, plain_stem, slot_stems, split_path, stem_of

SHA = "0123456789abcdef" * 4


def size(text: str) -> int:
    return len(os.fsencode(text))


@pytest.mark.parametrize("path", ["", "/", "/a", "a/", "a//b", ".", "..", "a/../b", "a/.", "a\0b"])
def test_a_path_that_is_not_plainly_below_its_root_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="not a path below its root"):
        split_path(path)


def test_strange_but_legal_parts_are_kept() -> None:
    assert split_path("a b/\n/\udcff/...") == ("a b", "\n", "\udcff", "...")


@pytest.mark.parametrize(
    ("path", "stem"),
    [
        ("photo.jpg", "photo"),
        ("a/b/IMG_1.HEIC", "IMG_1"),
        ("holiday.2024.jpg", "holiday.2024"),
        ("no suffix", "no suffix"),
        (".hidden.jpg", "_hidden"),
        (".jpg", "_jpg"),
        ("new\nline.jpg", "new\nline"),
        ("\udcff.jpg", "\udcff"),
    ],
)
def test_the_stem_is_the_files_own_and_never_hidden(path: str, stem: str) -> None:
    assert stem_of(path) == stem


def test_a_long_stem_is_cut_with_a_hash_so_that_two_of_them_stay_two() -> None:
    one, other = stem_of("x" * 200 + "1.jpg"), stem_of("x" * 200 + "2.jpg")
    assert one != other
    assert size(one) == size(other) == 180
    assert stem_of("x" * 180 + ".jpg") == "x" * 180


@pytest.mark.parametrize("letter", ["é", "写", "😀"])
def test_no_cut_goes_through_a_character(letter: str) -> None:
    for lead in range(5):
        short = cut("a" * lead + letter * 100, 60)
        short.encode()  # would raise for half a character
        assert 60 - 3 <= size(short) <= 60


def test_bytes_that_are_not_utf8_can_be_cut_too() -> None:
    assert size(cut("\udcff" * 250, 180)) == 180
    assert size(cut("\udc80" * 250, 180)) in range(177, 181)


def test_every_name_made_from_a_slot_stays_within_what_a_file_system_takes() -> None:
    for stem in slot_stems("写" * 80, SHA):
        assert size(f"{stem}_99999x99999.jpeg") <= 255
        assert size(f".{stem}.claim") <= 255
        assert size(join_name(stem, "." + "s" * 31)) <= 255
        assert size(marked_name(join_name(stem, ".jpeg"), SHA)) <= 255


def test_the_candidates_end_with_a_name_that_only_this_content_has() -> None:
    assert list(slot_stems("photo", SHA)) == ["photo", *(f"photo~{SHA[:digits]}" for digits in (8, 16, 32, 64))]


def test_a_suffix_longer_than_any_counts_as_part_of_the_stem() -> None:
    assert size(marked_name("a." + "b" * 250, "12345678")) <= 255


def test_a_plain_stem_has_only_what_every_file_system_takes() -> None:
    assert plain_stem("a:b\n\udcffé?") == "a_b____"
    assert size(plain_stem("x" * 180)) == 60
