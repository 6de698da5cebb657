"""When to come again: by how fast what is held is released."""

import pytest

from router.drain import MAX_DELAY_SECONDS, MIN_DELAY_SECONDS, Drain
from router.resources import Amounts, Resource

DEFAULT = 2.5


def drained(per_second: int) -> Drain:
    """So many requests of ten tiles were released a second, for long."""
    drain = Drain(DEFAULT, now=0.0)
    for second in range(1, 101):
        drain.advance(float(second), is_busy=True)
        for _ in range(per_second):
            drain.note_released(Amounts(requests=1, tiles=10))
    return drain


def test_before_anything_was_released_the_delay_is_the_default() -> None:
    assert Drain(DEFAULT, now=0.0).delay(Resource.REQUESTS, 1, 1) == DEFAULT


@pytest.mark.parametrize(("resource", "excess", "seconds"), [
    (Resource.REQUESTS, 6, 1.5), (Resource.TILES, 20, 0.5),
])  # fmt: skip
def test_the_delay_is_the_time_until_there_is_room(
    resource: Resource, excess: int, seconds: float
) -> None:
    assert drained(4).delay(resource, 1, excess) == pytest.approx(seconds, rel=0.1)


def test_who_was_refused_lately_comes_first() -> None:
    drain = drained(10)
    delays = [drain.delay(Resource.REQUESTS, 1, 1) for _ in range(40)]
    assert delays == sorted(delays)
    assert delays[-1] == pytest.approx(4.0, rel=0.1)
    drain.advance(110.0, is_busy=True)
    assert drain.delay(Resource.REQUESTS, 1, 1) < 1


def test_idle_time_does_not_make_it_slow() -> None:
    drain = drained(10)
    drain.advance(1e6, is_busy=False)
    assert drain.delay(Resource.REQUESTS, 1, 10) == pytest.approx(1.0, rel=0.1)


def test_the_delay_has_bounds() -> None:
    drain = drained(10)
    assert drain.delay(Resource.REQUESTS, 1, 1e-9) == MIN_DELAY_SECONDS
    assert drain.delay(Resource.REQUESTS, 1, 1e9) == MAX_DELAY_SECONDS
