"""Labels come from a percentile of the latest ratios, by a slow reckoning of what that is."""

from math import floor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.ratio_window import COMPRESS, KEEP, LOSS_FLOOR, RatioWindow, loss_ratio

RATIOS = st.lists(st.floats(0.01, 100), min_size=1, max_size=6)
LOSSES = st.floats(0, 50)


def percentile(values: list[float], share: float) -> float:
    """Between the two nearest ranks, in a straight line."""
    ordered = sorted(values)
    rank = share / 100 * (len(ordered) - 1)
    low = ordered[floor(rank)]
    high = ordered[min(floor(rank) + 1, len(ordered) - 1)]
    return low + (rank - floor(rank)) * (high - low)


@given(
    st.lists(RATIOS, min_size=1, max_size=12), st.integers(1, 12), st.sampled_from([0, 25, 60, 100])
)
def test_labels_are_those_of_the_slow_reckoning(
    batches: list[list[float]], length: int, share: float
) -> None:
    window = RatioWindow(length, share)
    history: list[float] = []
    for ratios in batches:
        history += ratios
        threshold = percentile(history[-length:], share)
        for ratio, label in zip(ratios, window.label(ratios), strict=True):
            if ratio != pytest.approx(threshold):  # both ways of reckoning round differently
                assert label == (COMPRESS if ratio < threshold else KEEP)


def test_what_costs_less_is_compressed() -> None:
    window = RatioWindow(length=10, percentile=50)
    assert window.label([1.0, 2.0, 3.0]) == [COMPRESS, KEEP, KEEP]
    assert window.label([2.5, 2.0]) == [KEEP, KEEP]
    assert window.label([0.5, 1.9]) == [COMPRESS, COMPRESS]


def test_the_percentile_is_the_share_that_is_compressed() -> None:
    ratios = [float(index) for index in range(1000)]
    assert RatioWindow(1000, 60).label(ratios).count(COMPRESS) == 600


def test_old_ratios_are_forgotten() -> None:
    window = RatioWindow(length=4, percentile=50)
    window.label([100.0] * 4)
    assert window.label([1.0, 2.0]) == [COMPRESS, COMPRESS]
    window.label([1.0, 2.0])
    assert window.label([3.0]) == [KEEP]


def test_equal_ratios_keep_their_tiles() -> None:
    assert RatioWindow(8, 60).label([1.5] * 8) == [KEEP] * 8


def test_a_first_tile_alone_is_kept() -> None:
    assert RatioWindow().label([7.0]) == [KEEP]


@given(LOSSES, LOSSES, LOSSES)
def test_the_ratio_grows_with_what_compressing_costs(full: float, less: float, more: float) -> None:
    less, more = sorted((less, more))
    assert loss_ratio(full, full) == 1
    assert loss_ratio(less, full) <= loss_ratio(more, full)
    assert loss_ratio(more, full) <= 1.0001 * (1 + more / LOSS_FLOOR)


def test_a_loss_of_nothing_does_not_make_a_ratio_huge() -> None:
    assert loss_ratio(0.02, 0.0) == pytest.approx(2.0)
    assert loss_ratio(3.98, 0.98) == pytest.approx(4.0)
