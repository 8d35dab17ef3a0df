"""Work that waits for the disk together: who goes on when, and whose trouble is whose."""

from collections.abc import Iterable

import pytest

from tasks.together import Steps, Together


class Disk:
    """Notes what is synced; `broken` folders cannot be."""

    def __init__(self, *broken: str) -> None:
        self.told: list[str] = []
        self._broken = broken

    def sync(self, folder: str) -> None:
        if folder in self._broken:
            raise OSError(5, "broken", folder)
        self.told.append(f"sync {folder}")

    def work(self, name: str, *waits: Iterable[str]) -> Steps[None]:
        """A piece of work that tells of each of its steps."""
        try:
            for number, folders in enumerate(waits):
                self.told.append(f"{name}{number}")
                yield folders
            self.told.append(f"{name} ends")
        except OSError as error:
            self.told.append(f"{name} fails: {error.filename}")


def test_all_wait_at_once_and_each_folder_is_synced_once_for_all_before_anybody_goes_on() -> None:
    disk = Disk()
    together = Together(disk.sync)
    together.begin(disk.work("a", (), ["x", "y"], ["z"]))
    together.begin(disk.work("b", (), ["y", "x"]))
    assert disk.told == ["a0", "b0"]
    together.finish()
    rest = ["a1", "b1", "sync x", "sync y", "a2", "b ends", "sync z", "a ends"]
    assert disk.told == ["a0", "b0", *rest]


def test_a_folder_that_cannot_be_synced_is_the_trouble_of_those_who_want_it_only() -> None:
    disk = Disk("y")
    together = Together(disk.sync)
    together.begin(disk.work("a", ["x"]))
    together.begin(disk.work("b", ["x", "y"], ["z"]))
    together.begin(disk.work("c", ["y"]))
    together.finish()
    assert disk.told == ["a0", "b0", "c0", "sync x", "a ends", "b fails: y", "c fails: y"]


def test_what_never_waits_is_done_at_once_and_nothing_is_done_twice() -> None:
    disk = Disk()
    together = Together(disk.sync)
    together.begin(disk.work("a"))
    assert disk.told == ["a ends"]
    together.begin(disk.work("b", ["x"]))
    together.finish()
    together.finish()
    assert disk.told == ["a ends", "b0", "sync x", "b ends"]


def test_what_is_given_up_cleans_up_behind_itself() -> None:
    disk = Disk()
    together = Together(disk.sync)

    def work() -> Steps[None]:
        try:
            yield ["x"]
        finally:
            disk.told.append("cleaned up")

    def broken() -> Steps[None]:
        yield ["x"]
        raise KeyboardInterrupt

    together.begin(broken())
    together.begin(work())
    with pytest.raises(KeyboardInterrupt):
        together.finish()
    disk.told.clear()
    together.close()
    together.finish()
    assert disk.told == ["cleaned up"]
