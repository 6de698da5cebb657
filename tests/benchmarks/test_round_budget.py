"""Rounds are begun as long as they would end in time."""

import pytest

from benchmarks.round_budget import RoundBudget


def rounds_in(limit_seconds: float, lengths: list[float]) -> int:
    now = 100.0
    budget = RoundBudget(limit_seconds, lambda: now)
    for done, length in enumerate(lengths):
        if not budget.begin_round():
            return done
        now += length
    return len(lengths)


@pytest.mark.parametrize(
    ("limit_seconds", "lengths", "num_rounds"),
    [
        (30.0, [10.0, 10.0, 10.0], 3),
        (29.0, [10.0, 10.0, 10.0], 2),
        (29.0, [12.0, 5.0, 5.0], 3),
        (29.0, [5.0, 15.0, 5.0], 2),
        (1.0, [10.0, 10.0], 1),
    ],
)
def test_a_round_is_begun_where_the_longest_one_fits(
    limit_seconds: float, lengths: list[float], num_rounds: int
) -> None:
    assert rounds_in(limit_seconds, lengths) == num_rounds
