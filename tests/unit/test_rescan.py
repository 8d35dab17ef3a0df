"""When an inbox is scanned again: soon after a wish, after each interval, and never for more than its share of the time."""

import pytest

from watcher.rescan import Rescan


def scanned(rescan: Rescan, start: float, spent: float, end: float) -> None:
    rescan.start(start)
    rescan.spend(spent, files=5)
    rescan.finish(end)


def test_the_first_scan_is_due_at_once_and_the_next_after_the_interval() -> None:
    rescan = Rescan(30.0, share=0.05)
    assert rescan.is_due(0.0)
    scanned(rescan, 0.0, 0.1, 1.0)
    assert not rescan.is_due(30.9)
    assert rescan.is_due(31.0)


@pytest.mark.parametrize(("share", "pause"), [(0.05, 190.0), (0.5, 30.0)])
def test_a_scan_takes_at_most_its_share_of_the_time(share: float, pause: float) -> None:
    rescan = Rescan(30.0, share)
    scanned(rescan, 0.0, spent=10.0, end=10.0)
    assert rescan.due_at == pytest.approx(10.0 + pause)


def test_what_is_asked_in_vain_about_the_files_of_a_scan_counts_even_after_its_end() -> None:
    rescan = Rescan(30.0, share=0.05)
    scanned(rescan, 0.0, spent=1.0, end=10.0)
    assert rescan.due_at == 40.0
    rescan.spend(2.0)
    assert rescan.due_at == pytest.approx(10.0 + 3.0 * 19)


def test_hours_of_waiting_for_free_slots_do_not_stretch_the_pause() -> None:
    rescan = Rescan(30.0, share=0.05)
    scanned(rescan, 0.0, spent=0.5, end=7200.0)
    assert rescan.is_due(7230.0)


def test_a_wish_during_a_scan_is_fulfilled_after_it_and_only_once() -> None:
    rescan = Rescan(30.0, share=0.05)
    rescan.start(0.0)
    rescan.want()
    assert not rescan.is_due(1.0), "one runs"
    rescan.finish(2.0)
    assert rescan.is_due(2.0)
    scanned(rescan, 2.0, 0.1, 3.0)
    assert not rescan.is_due(4.0)


def test_wishes_without_end_get_half_of_the_time() -> None:
    rescan = Rescan(30.0, 0.05)
    rescan.start(0.0)
    rescan.spend(4.0, 100)
    rescan.finish(10.0)
    rescan.want()
    assert not rescan.is_due(13.9)
    assert rescan.due_at == 14.0
    assert rescan.is_due(14.0)
