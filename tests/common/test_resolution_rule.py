"""The resolution rule against torch and against the published code."""

import math

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from common.resolution_rule import ResolutionThresholds, compress_mask, decide, linear_quantile
from common.types import ResolutionScope

QUANTILES = st.sampled_from([0.0, 0.1, 0.25, 1 / 3, 0.5, 0.66, 0.9, 1.0]) | st.floats(
    0, 1, width=32
)
PROBABILITIES = st.floats(0, 1, width=32)
BFLOAT16 = st.integers(0, 256).map(lambda step: step / 256)
SCORES = st.lists(PROBABILITIES, min_size=1, max_size=40) | st.lists(
    BFLOAT16, min_size=1, max_size=40
)
MEDIAN = ResolutionThresholds(relative=0.5, absolute=0.0)


def published_mask(scores: list[float], thresholds: ResolutionThresholds) -> tuple[bool, ...]:
    """Follow the published code: strictly above the quantile, at least the absolute threshold."""
    gate = torch.tensor(scores, dtype=torch.float32)
    above = gate > torch.quantile(gate, thresholds.relative)
    return tuple((above & (gate >= thresholds.absolute)).tolist())


@given(scores=SCORES, q=QUANTILES)
def test_the_quantile_is_that_of_torch_bit_for_bit(scores: list[float], q: float) -> None:
    ours = linear_quantile(np.array(scores, np.float32), q)
    theirs = torch.quantile(torch.tensor(scores, dtype=torch.float32), q).numpy()
    assert ours.tobytes() == theirs.tobytes()


@pytest.mark.parametrize("num_tiles", range(1, 41))
def test_the_quantile_of_random_scores_is_that_of_torch(num_tiles: int) -> None:
    source = np.random.default_rng(num_tiles)
    for _ in range(100):
        # Logistic, as gate scores are: small ones have finer last bits than large ones.
        scores = (1 / (1 + np.exp(source.normal(size=num_tiles, scale=4)))).astype(np.float32)
        q = float(source.random())
        assert linear_quantile(scores, q) == torch.quantile(torch.from_numpy(scores), q).numpy()


@given(scores=SCORES, q=QUANTILES, absolute=BFLOAT16)
@example(scores=[0.5] * 8, q=0.5, absolute=0.5)
def test_the_mask_is_the_published_one(scores: list[float], q: float, absolute: float) -> None:
    thresholds = ResolutionThresholds(q, absolute)
    assert compress_mask(scores, thresholds, True) == published_mask(scores, thresholds)


@given(score=PROBABILITIES, q=QUANTILES)
def test_a_lone_tile_is_never_compressed(score: float, q: float) -> None:
    assert compress_mask([score], ResolutionThresholds(q, 0.0), True) == (False,)


@pytest.mark.parametrize(("num_tiles", "compressed"), [(1, 0), (2, 1), (5, 2), (10, 5), (13, 6)])
def test_the_median_compresses_at_most_half(num_tiles: int, compressed: int) -> None:
    scores = [index / 20 for index in range(num_tiles)]
    assert sum(compress_mask(scores, MEDIAN, True)) == compressed


def test_ties_at_the_quantile_keep_full_resolution() -> None:
    assert compress_mask([0.1, 0.7, 0.7, 0.7, 0.9], MEDIAN, True) == (False,) * 4 + (True,)


def test_the_absolute_threshold_is_inclusive() -> None:
    thresholds = ResolutionThresholds(relative=0.0, absolute=0.5)
    assert compress_mask([0.49, 0.5, 0.51], thresholds, False) == (False, True, True)


def test_a_tile_without_a_score_keeps_full_resolution_and_has_no_say() -> None:
    assert compress_mask([0.1, math.nan, 0.9], MEDIAN, True) == (False, False, True)
    assert compress_mask([math.nan, math.nan], MEDIAN, True) == (False, False)
    assert compress_mask([0.1, math.nan, 0.9], MEDIAN, False) == (True, False, True)


IMAGES = [[0.1, 0.2, 0.3], [0.8, 0.9], [0.6]]


@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        (ResolutionScope.REQUEST, ((False,) * 3, (True, True), (True,))),
        (ResolutionScope.IMAGE, ((False, False, False), (False, True), (False,))),
        (ResolutionScope.ABSOLUTE, ((False, False, False), (True, True), (True,))),
        (ResolutionScope.OFF, ((False,) * 3, (False,) * 2, (False,))),
    ],
)
def test_scopes(scope: ResolutionScope, expected: tuple[tuple[bool, ...], ...]) -> None:
    assert decide(IMAGES, ResolutionThresholds(0.5, 0.5), scope) == expected


@given(images=st.lists(st.lists(PROBABILITIES, max_size=14), max_size=5), q=QUANTILES)
def test_the_scope_request_pools_all_pictures(images: list[list[float]], q: float) -> None:
    thresholds = ResolutionThresholds(q, 0.25)
    masks = decide(images, thresholds, ResolutionScope.REQUEST)
    flat = [score for image in images for score in image]
    assert [len(mask) for mask in masks] == [len(image) for image in images]
    assert sum(masks, ()) == (published_mask(flat, thresholds) if flat else ())


@pytest.mark.parametrize("scope", list(ResolutionScope))
def test_without_a_gate_nothing_is_compressed(scope: ResolutionScope) -> None:
    assert decide([[1.0, 0.5], [0.9]], None, scope) == ((False, False), (False,))
    assert decide([], MEDIAN, scope) == ()
