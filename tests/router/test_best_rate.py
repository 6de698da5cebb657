"""The best that was lately shown."""

import pytest

from router.best_rate import HALF_LIFE_SECONDS, BestRate


def test_nothing_is_known_before_a_second_was_measured() -> None:
    rate = BestRate()
    rate.add(1000, 0.9)
    assert rate.per_second == 0
    rate.add(0, 0.1)
    assert rate.per_second == pytest.approx(1000)


def test_slow_times_do_not_hide_a_fast_one() -> None:
    rate = BestRate()
    for amount in (50, 5000, 50, 50):
        rate.add(amount, 1)
    assert rate.per_second == pytest.approx(5000, rel=0.05)


def test_it_is_forgotten_slowly() -> None:
    rate = BestRate()
    rate.add(5000, 1)
    for _ in range(int(HALF_LIFE_SECONDS)):
        rate.add(50, 1)
    assert rate.per_second == pytest.approx(2500)
