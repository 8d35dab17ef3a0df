import pytest

from tasks.geometry import centred, decode_divisor, final_size, rounded, stored, whole_size
from tasks.recipe import Fit, WantedSize


def wanted(width: int, height: int, fit: Fit = "contain") -> WantedSize:
    return WantedSize(width, height, fit, "jpeg", 80)


@pytest.mark.parametrize(
    ("source", "box", "size"),
    [
        ((4032, 3024), (640, 640), (640, 480)),
        ((3024, 4032), (640, 640), (480, 640)),
        ((533, 400), (400, 200), (267, 200)),  # 266.5 rounds up
        ((65000, 1), (200, 200), (200, 1)),
        ((1, 65000), (200, 200), (1, 200)),
        ((100, 50), (640, 640), (100, 50)),
        ((640, 640), (640, 640), (640, 640)),
        ((2000, 4), (100, 100), (100, 1)),
    ],
)
def test_contain_fits_into_the_box_and_never_enlarges(
    source: tuple[int, int], box: tuple[int, int], size: tuple[int, int]
) -> None:
    assert final_size(source, wanted(*box)) == size == whole_size(source, wanted(*box))


@pytest.mark.parametrize(
    ("source", "box", "size"),
    [
        ((4032, 3024), (200, 200), (200, 200)),
        ((4031, 3023), (333, 100), (333, 100)),
        ((200, 200), (200, 200), (200, 200)),
        ((300, 100), (200, 200), (100, 100)),
        ((1000, 150), (200, 200), (150, 150)),
        ((50, 50), (200, 100), (50, 25)),
        ((1, 65000), (200, 200), (1, 1)),
    ],
)
def test_cover_fills_the_box_or_keeps_its_aspect_when_the_source_is_smaller(
    source: tuple[int, int], box: tuple[int, int], size: tuple[int, int]
) -> None:
    assert final_size(source, wanted(*box, "cover")) == size


def test_cover_has_the_exact_box_whenever_the_source_is_large_enough() -> None:
    for width in range(100, 400, 7):
        for height in range(100, 400, 11):
            size = wanted(100, 73, "cover")
            whole = whole_size((width, height), size)
            assert final_size((width, height), size) == (100, 73)
            assert whole[0] >= 100
            assert whole[1] >= 73


def test_the_crop_is_centred() -> None:
    assert centred((267, 200), (200, 200)) == (33, 0, 233, 200)
    assert centred((200, 200), (200, 200)) == (0, 0, 200, 200)


def test_pixels_on_their_side_have_a_swapped_size() -> None:
    assert [stored((3, 2), orientation) for orientation in range(1, 9)] == [(3, 2)] * 4 + [(2, 3)] * 4


def test_rounding_goes_half_up_and_never_to_nothing() -> None:
    assert [rounded(length) for length in (0.0, 0.4, 0.5, 1.5, 2.5, 266.5)] == [1, 1, 1, 2, 3, 267]


@pytest.mark.parametrize(
    ("full", "largest", "divisor"),
    [
        ((4032, 3024), (1280, 960), 2),
        ((4000, 3000), (1280, 960), 2),
        ((3990, 2992), (1280, 960), 1),  # the half is not 1.56 times as large: below 45 dB
        ((6000, 4000), (1280, 853), 2),
        ((4032, 3024), (640, 480), 2),
        ((4032, 3024), (200, 150), 4),
        ((4032, 3024), (160, 120), 8),
        ((1280, 960), (1280, 960), 1),
        ((65000, 1), (200, 1), 1),
        ((5120, 3840), (1280, 960), 2),
    ],
)
def test_a_jpeg_is_divided_only_where_the_thumbnail_cannot_show_it(
    full: tuple[int, int], largest: tuple[int, int], divisor: int
) -> None:
    assert decode_divisor(full, largest, fitted=True) == divisor
    assert decode_divisor(full[::-1], largest[::-1], fitted=True) == divisor


def test_what_gets_no_fitted_tables_is_divided_only_for_thumbnails_of_a_quarter() -> None:
    assert decode_divisor((5120, 3840), (1280, 960), fitted=False) == 2
    assert decode_divisor((5119, 3840), (1280, 960), fitted=False) == 1
    assert decode_divisor((4032, 3024), (200, 150), fitted=False) == 4
