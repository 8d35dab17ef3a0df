"""Waits grow, each class of failure in its own way, and never beyond their bound."""

from itertools import pairwise

import pytest

from tasks.errors import BlockedError, GoneError, IngestError, Reason, ResourceError, TransientError, TruncatedError
from tasks.waits import wait_seconds

RESCAN = 30.0


@pytest.mark.parametrize("why", [TruncatedError("t"), BlockedError("b"), TransientError("i")])
def test_each_wait_is_longer_than_the_one_before_until_the_bound(why: IngestError) -> None:
    waits = [wait_seconds(why, tries, RESCAN) for tries in range(20)]
    bound = waits[-1]
    assert all(later > earlier or later == bound for earlier, later in pairwise(waits))
    assert waits[0] < bound <= 3600


def test_the_last_look_at_a_cut_off_file_comes_as_its_grace_ends_and_not_an_hour_later() -> None:
    cut = TruncatedError("t")
    assert wait_seconds(cut, 6, RESCAN, grace_left_seconds=100) == 100
    assert wait_seconds(cut, 0, RESCAN, grace_left_seconds=100) == 30
    assert wait_seconds(cut, 6, RESCAN, grace_left_seconds=-5) == 3600, "somebody still writes it"
    assert wait_seconds(TransientError("i"), 6, RESCAN, grace_left_seconds=1) > 100


def test_a_full_disk_is_looked_at_again_every_ten_seconds_for_ever() -> None:
    why = ResourceError(Reason.NO_SPACE, "full")
    assert {wait_seconds(why, tries, RESCAN) for tries in (0, 5, 500)} == {10.0}


def test_a_file_that_is_gone_is_not_looked_for_before_one_rescan() -> None:
    assert wait_seconds(GoneError("gone"), 0, RESCAN) == RESCAN


def test_any_number_of_tries_gives_a_finite_wait() -> None:
    assert wait_seconds(TransientError("i"), 10**9, RESCAN) == 600.0
