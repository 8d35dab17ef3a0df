"""Tables for a smaller decode: what each frequency counts, and which JPEGs are better left alone."""

from tasks.jpeg_tables import DQT, Segment, fitted

FRAME, HUFFMAN = 0xC0, 0xC4
FINE, COARSE = bytes([10]) * 64, bytes([100]) * 64


def table(number: int, values: bytes, *, wide: bool = False) -> Segment:
    content = bytes([number | 0x10 * wide]) + values
    return DQT, (len(content) + 2).to_bytes(2, "big") + content


def frame(*components: tuple[int, int]) -> Segment:
    """A frame of components with that sampling, as a byte, and table."""
    listed = b"".join(bytes([name, *component]) for name, component in enumerate(components, 1))
    content = bytes([8, 0, 64, 0, 64, len(components)]) + listed
    return FRAME, (len(content) + 2).to_bytes(2, "big") + content


def tables_of(segments: list[Segment]) -> dict[int, list[int]]:
    """The 64 values of each table by its number, all of two bytes."""
    found = {}
    for _, body in (segment for segment in segments if segment[0] == DQT):
        assert body[:2] == b"\x00\x83"
        assert body[2] >> 4 == 1
        found[body[2] & 15] = [int.from_bytes(body[at : at + 2], "big") for at in range(3, 131, 2)]
    return found


def test_what_a_half_cannot_show_counts_nothing_and_the_rest_what_averaging_takes_from_it() -> None:
    made = tables_of(fitted([table(0, COARSE), frame((0x11, 0))], 1, 2))[0]
    # Along the zigzag (T.81, figure 5): the mean, then (0,1) (1,0) (2,0) (1,1) (0,2) (0,3) (1,2) (2,1) (3,0) (4,0)
    assert made[:11] == [100, 102, 102, 108, 104, 108, 120, 110, 110, 120, 0]
    assert made[24] == 145  # (3,3), the finest that a half can show
    assert sum(value > 0 for value in made) == 16


def test_a_quarter_keeps_four_frequencies_and_an_eighth_the_mean() -> None:
    quarter, eighth = (tables_of(fitted([table(0, COARSE), frame((0x11, 0))], 1, part))[0] for part in (4, 8))
    assert [value for value in quarter if value] == [100, 110, 110, 122]
    assert [value for value in eighth if value] == [100]


def test_colour_that_has_half_as_many_samples_is_left_as_it_is_even_where_it_shares_a_table() -> None:
    made = tables_of(fitted([table(0, COARSE), frame((0x22, 0), (0x11, 0), (0x11, 0))], 3, 2))
    assert made[0][24] == 145
    assert made[1] == made[2] == [100] * 64


def test_colour_with_half_the_columns_only_is_made_smaller_like_the_rest() -> None:
    made = tables_of(fitted([table(0, COARSE), table(1, FINE), frame((0x21, 0), (0x11, 1), (0x11, 1))], 3, 2))
    assert made[0][10] == made[1][10] == made[2][10] == 0


def test_wide_tables_several_in_a_segment_and_the_last_of_a_number_are_understood() -> None:
    wide = b"\x01\x00" * 64
    both = (DQT, b"\x00\xc4" + bytes([0]) + FINE + bytes([0x11]) + wide)
    made = tables_of(fitted([table(1, FINE), both, frame((0x22, 1), (0x11, 0), (0x11, 0))], 3, 2))
    assert made[0][0] == 256
    assert made[1] == [10] * 64


def test_everything_else_stays_and_the_frame_names_the_new_tables() -> None:
    huffman = (HUFFMAN, b"\x00\x02")
    made = fitted([table(0, FINE), frame((0x22, 0), (0x11, 0), (0x11, 0)), huffman], 3, 2)
    assert made[:2] == [frame((0x22, 0), (0x11, 1), (0x11, 2)), huffman]


def test_what_is_amiss_is_left_alone() -> None:
    colour = frame((0x22, 0), (0x11, 1), (0x11, 1))
    good = [table(0, FINE), table(1, FINE), colour]
    assert fitted(good, 3, 2) != good
    for segments, in_first_scan in [
        (good, 1),  # the other components may get other tables later
        ([table(0, FINE), colour], 3),
        ([table(0, FINE), table(1, FINE[:50]), colour], 3),
        ([*good, colour], 3),
        ([table(0, FINE)], 0),
        ([table(0, FINE), (FRAME, b"\x00\x02")], 0),
        ([table(0, FINE), (FRAME, frame((0x11, 0))[1][:-1])], 1),
        ([table(0, FINE), frame((0x10, 0))], 1),
        ([table(0, FINE), frame(*[(0x11, 0)] * 4)], 4),
        ([], 0),
    ]:
        assert fitted(segments, in_first_scan, 2) is segments
