import pytest
from PIL import Image

from tasks.exif import ExifFacts, camera_name, credits_only, taken_at, valid_orientation


@pytest.mark.parametrize(
    ("make", "model", "camera"),
    [
        ("Apple", "iPhone 11", "Apple iPhone 11"),
        ("Canon", "Canon EOS 6D", "Canon EOS 6D"),
        ("NIKON CORPORATION", "NIKON D90", "NIKON D90"),
        ("Canon\0\0\0", "  EOS\t6D \x1b[2J\r\n", "Canon EOS 6D [2J"),
        ("FUJIFILM", None, "FUJIFILM"),
        (None, b"X100V\0rest", "X100V"),
        ("\u202egnp.\u2066", "a\u2028b", "gnp. a b"),
        (None, None, None),
        ("", " \0", None),
        (7, (1, 2), None),
        ("x" * 80, "y" * 80, "x" * 80 + " " + "y" * 19),
    ],
)
def test_a_camera_is_make_and_model_on_one_harmless_line(make: object, model: object, camera: str | None) -> None:
    assert camera_name(make, model) == camera


@pytest.mark.parametrize(
    ("value", "taken"),
    [
        ("2024:05:06 07:08:09", "2024-05-06T07:08:09"),
        ("2024-05-06T07:08:09.123+02:00", "2024-05-06T07:08:09"),
        (b"2024:05:06 07:08:09\0", "2024-05-06T07:08:09"),
        ("0000:00:00 00:00:00", None),
        ("2024:02:30 07:08:09", None),
        ("    :  :     :  :  ", None),
        ("yesterday", None),
        (20240506, None),
        (None, None),
    ],
)
def test_a_time_is_read_or_counts_as_absent(value: object, taken: str | None) -> None:
    assert taken_at(value) == taken


@pytest.mark.parametrize("value", [0, 9, 255, 65535, -1, "6", b"6", None, (6,), 6.0])
def test_any_other_orientation_means_upright(value: object) -> None:
    assert valid_orientation(value) == 1
    assert [valid_orientation(number) for number in range(1, 9)] == [1, 2, 3, 4, 5, 6, 7, 8]


def test_credits_are_written_anew_and_nothing_else() -> None:
    tags = Image.Exif()
    tags.load(credits_only(ExifFacts(6, "2024-05-06T07:08:09", "Canon", artist="Zoé", copyright="(c)")))
    assert {tag: str(text).encode("latin-1").decode().strip() for tag, text in tags.items()} == {
        315: "Zoé",
        33432: "(c)",
    }
    assert credits_only(ExifFacts(6, "2024-05-06T07:08:09", "Canon")) == b""
