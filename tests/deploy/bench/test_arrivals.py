"""When requests come."""

import random
import statistics
from itertools import pairwise

import pytest

from deploy.bench.arrivals import arrival_offsets

INF = float("inf")


def gaps(burstiness: float, seed: int = 1) -> list[float]:
    offsets = arrival_offsets(4001, 20.0, burstiness, random.Random(seed))
    return [later - earlier for earlier, later in pairwise(offsets)]


def test_at_an_infinite_rate_all_come_at_once() -> None:
    assert arrival_offsets(3, INF, 1.0, random.Random(1)) == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("rate", [5.0, INF])
def test_as_many_come_as_were_asked_for(rate: float) -> None:
    for count in (0, 1, 2):
        assert len(arrival_offsets(count, rate, 1.0, random.Random(1))) == count


def test_a_seed_repeats_them() -> None:
    assert gaps(1.0) == gaps(1.0)
    assert gaps(1.0) != gaps(1.0, seed=2)


@pytest.mark.parametrize(("burstiness", "deviation"), [(0.25, 2.0), (1.0, 1.0), (100.0, 0.1)])
def test_burstiness_spreads_the_gaps_and_leaves_the_rate(
    burstiness: float, deviation: float
) -> None:
    """A gamma distribution's deviation is its mean over the root of its shape."""
    drawn = gaps(burstiness)
    assert min(drawn) >= 0
    assert statistics.mean(drawn) == pytest.approx(1 / 20, rel=0.15)
    assert statistics.stdev(drawn) * 20 == pytest.approx(deviation, rel=0.15)
