"""Time in which something is under way, counted once."""

from common.busy_time import BusyTime


class Clock:
    """A time that is set."""

    now = 5.0

    def __call__(self) -> float:
        return self.now


def test_what_overlaps_counts_once_and_what_runs_counts_already() -> None:
    clock = Clock()
    busy = BusyTime(clock)
    with busy.doing():
        clock.now = 6.0
        with busy.doing():
            clock.now = 8.0
            assert busy.seconds == 3.0
        clock.now = 9.0
    clock.now = 20.0
    assert busy.seconds == 4.0
    with busy.doing():
        clock.now = 21.0
    assert busy.seconds == 5.0
