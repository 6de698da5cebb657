"""Values by bucket."""

import pytest

from common import distribution
from common.distribution import Distribution

BOUNDS = [value for name, value in vars(distribution).items() if name.isupper()]


@pytest.mark.parametrize(
    ("value", "counts"),
    [(0.0, [1, 0, 0]), (1.0, [1, 0, 0]), (1.5, [0, 1, 0]), (2.0, [0, 1, 0]), (9.0, [0, 0, 1])],
)
def test_a_bound_belongs_to_its_bucket(value: float, counts: list[int]) -> None:
    values = Distribution((1.0, 2.0))
    values.note(value)
    assert (values.counts, values.total) == (counts, value)


def test_a_value_may_count_several_times() -> None:
    values = Distribution((1.0,))
    values.note(0.5, 4)
    values.note(3.0)
    assert (values.num_values, values.total) == (5, 5.0)


@pytest.mark.parametrize("bounds", BOUNDS)
def test_bounds_ascend(bounds: tuple[float, ...]) -> None:
    assert list(bounds) == sorted(set(bounds))
