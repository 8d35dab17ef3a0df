from watcher.collector import Collector, Hint, Trouble


class Bell:
    rung = 0

    def __call__(self) -> None:
        self.rung += 1


def test_events_of_one_path_become_one_hint_and_the_last_one_counts() -> None:
    collector = Collector(Bell())
    for kind in ("touched", "closed", "gone", "moved_in"):
        collector.hint("a", "x.jpg", kind)
    collector.hint("a", "y.jpg", "touched")
    collector.hint("b", "x.jpg", "gone")
    assert collector.drain() == (
        [Hint("a", "x.jpg", "moved_in"), Hint("a", "y.jpg", "touched"), Hint("b", "x.jpg", "gone")],
        [],
    )
    assert collector.drain() == ([], [])


def test_a_change_of_attributes_hides_nothing() -> None:
    collector = Collector(Bell())
    collector.hint("a", "x.jpg", "closed")
    collector.hint("a", "x.jpg", "attributes")
    collector.hint("a", "y.jpg", "attributes")
    assert [hint.kind for hint in collector.drain()[0]] == ["closed", "attributes"]


def test_beyond_the_limit_a_rescan_is_asked_for_and_known_paths_still_count() -> None:
    collector = Collector(Bell(), limit=2)
    for path in ("1.jpg", "2.jpg", "3.jpg", "4.jpg"):
        collector.hint("a", path, "touched")
    collector.hint("a", "1.jpg", "closed")
    hints, troubles = collector.drain()
    assert hints == [Hint("a", "1.jpg", "closed"), Hint("a", "2.jpg", "touched")]
    assert troubles == [Trouble("a", "dropped", "more than 2 paths at once", count=2)]


def test_the_same_trouble_is_told_once_with_its_count() -> None:
    collector = Collector(Bell())
    collector.trouble("a", "unwatched", "b: no watches left")
    collector.trouble("a", "unwatched", "c: no watches left")
    collector.trouble("a", "overflow", "lost")
    assert collector.drain()[1] == [
        Trouble("a", "unwatched", "b: no watches left", 2),
        Trouble("a", "overflow", "lost"),
    ]


def test_the_loop_is_woken_once_for_all_that_comes_in_between_two_drains() -> None:
    bell = Bell()
    collector = Collector(bell)
    collector.hint("a", "1.jpg", "touched")
    collector.hint("a", "2.jpg", "touched")
    collector.trouble("a", "overflow", "lost")
    assert bell.rung == 1
    collector.drain()
    collector.trouble("a", "overflow", "lost")
    assert bell.rung == 2


def test_troubles_of_a_watching_that_ended_are_forgotten() -> None:
    collector = Collector(Bell())
    collector.trouble("a", "overflow", "lost")
    collector.trouble("b", "overflow", "lost")
    collector.forget_troubles("a")
    assert collector.drain()[1] == [Trouble("b", "overflow", "lost")]
