from config.repeats import Ended, Repeated


def test_trouble_is_said_at_once_then_counted_once_a_minute() -> None:
    trouble = Repeated()
    assert trouble.happened(100.0) == 1
    assert [trouble.happened(100.0 + second) for second in range(1, 60)] == [0] * 59
    assert trouble.happened(160.0) == 60
    assert trouble.happened(161.0) == 0


def test_the_recovery_closes_it_with_how_often_and_how_long() -> None:
    trouble = Repeated()
    for now in (10.0, 20.0, 30.0):
        trouble.happened(now)
    assert trouble.recovered(45.0) == Ended(times=3, seconds=35.0)
    assert trouble.recovered(46.0) is None


def test_a_success_without_trouble_says_nothing() -> None:
    assert Repeated().recovered(1.0) is None


def test_new_trouble_after_a_recovery_is_said_at_once() -> None:
    trouble = Repeated()
    trouble.happened(10.0)
    trouble.recovered(11.0)
    assert trouble.happened(12.0) == 1
    assert trouble.recovered(13.0) == Ended(times=1, seconds=1.0)


def test_rare_trouble_is_said_every_time() -> None:
    trouble = Repeated(every_seconds=60)
    assert [trouble.happened(now) for now in (0.0, 60.0, 120.0)] == [1, 1, 1]
