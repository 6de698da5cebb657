"""A mean over the recent past."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.measured_rate import MeasuredRate


def test_it_is_amount_by_time() -> None:
    rate = MeasuredRate(half_life_seconds=1e9)
    rate.add(30, 1)
    rate.add(10, 3)
    assert rate.per_second() == pytest.approx(10)


def test_nothing_measured_is_the_prior_or_nothing() -> None:
    rate = MeasuredRate(half_life_seconds=1)
    assert rate.per_second() == 0
    assert rate.per_second(prior=7, prior_seconds=2) == 7


def test_the_prior_counts_as_if_measured_for_so_long() -> None:
    rate = MeasuredRate(half_life_seconds=1e9)
    rate.add(40, 2)
    assert rate.per_second(prior=10, prior_seconds=2) == pytest.approx(15)


def test_after_a_half_life_the_past_counts_for_half() -> None:
    rate = MeasuredRate(half_life_seconds=4)
    rate.add(100, 4)
    rate.add(0, 4)
    assert rate.per_second() == pytest.approx(100 * 0.5 / (4 * 0.5 + 4))


@given(old=st.floats(1, 1e4), new=st.floats(1, 1e4))
def test_a_change_is_followed(old: float, new: float) -> None:
    rate = MeasuredRate(half_life_seconds=5)
    for pace in (old, new):
        for _ in range(100):
            rate.add(pace, 1)
    assert rate.per_second() == pytest.approx(new, rel=0.01, abs=0.001 * old)
