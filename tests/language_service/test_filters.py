"""Filters against those of transformers, and their shortcut against the whole vocabulary."""

from typing import Any

import pytest
import torch
from transformers import (
    LogitsProcessorList,
    MinPLogitsWarper,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from common.types import SamplingParameters
from language_service.filters import NUM_CANDIDATES, filtered_candidates

CHOICES: list[dict[str, Any]] = [
    {"top_k": 1},
    {"top_k": 40},
    {"top_k": 1023},
    {"top_k": 1024},
    {"top_k": 1500},
    {"top_k": 10**6},
    {"top_p": 1e-6},
    {"top_p": 0.5},
    {"top_p": 0.999},
    {"min_p": 0.1},
    {"min_p": 1.0},
    {"min_p": 1e-9},
    {"top_k": 100, "top_p": 0.7},
    {"top_k": 1500, "top_p": 0.7},
    {"top_k": 10**6, "top_p": 0.7},
    {"top_k": 50, "top_p": 0.9, "min_p": 0.05},
    {"top_p": 0.9, "min_p": 0.2},
]


def survivors(scaled: torch.Tensor, choices: list[dict[str, Any]]) -> list[set[int]]:
    """The tokens that each row keeps."""
    samplings = [SamplingParameters(1, 1.0, 0, **choice) for choice in choices]
    kept: dict[int, set[int]] = {}
    for part in filtered_candidates(scaled, samplings):
        for index, token_ids, scores in zip(
            part.rows.tolist(), part.token_ids, part.scores, strict=True
        ):
            assert index not in kept
            assert torch.equal(scores[0], scaled[index].double()[token_ids[0]])
            kept[index] = set(token_ids[scores.isfinite()].tolist())
    return [kept[index] for index in range(len(choices))]


def published(scaled: torch.Tensor, choice: dict[str, Any]) -> set[int]:
    """What transformers' own processors keep, in the order of `generate`."""
    chain = LogitsProcessorList([TemperatureLogitsWarper(1.0)])
    if "top_k" in choice:
        chain.append(TopKLogitsWarper(choice["top_k"]))
    if "top_p" in choice:
        chain.append(TopPLogitsWarper(choice["top_p"]))
    if "min_p" in choice:
        chain.append(MinPLogitsWarper(choice["min_p"]))
    scores = chain(torch.zeros(1, 1, dtype=torch.int64), scaled[None].double())
    return set(scores[0].isfinite().nonzero()[:, 0].tolist())


@pytest.mark.parametrize("vocabulary_size", [30, NUM_CANDIDATES, NUM_CANDIDATES + 1, 4000])
@pytest.mark.parametrize("spread", [0.5, 4.0])
def test_survivors_are_those_of_transformers(vocabulary_size: int, spread: float) -> None:
    generator = torch.Generator().manual_seed(vocabulary_size)
    scaled = torch.randn(len(CHOICES), vocabulary_size, generator=generator) * spread
    kept = survivors(scaled, CHOICES)
    assert kept == [published(row, choice) for row, choice in zip(scaled, CHOICES, strict=True)]
    assert all(kept)
    alone = [survivors(row[None], [choice]) for row, choice in zip(scaled, CHOICES, strict=True)]
    assert [each for (each,) in alone] == kept


def test_some_rows_are_cut_at_the_candidates_and_some_are_not() -> None:
    generator = torch.Generator().manual_seed(0)
    scaled = torch.randn(2, 4000, generator=generator)
    samplings = [SamplingParameters(1, 1.0, 0, top_k=7), SamplingParameters(1, 1.0, 0, top_p=0.99)]
    widths = {
        part.rows.tolist()[0]: part.scores.shape[1]
        for part in filtered_candidates(scaled, samplings)
    }
    assert widths == {0: NUM_CANDIDATES, 1: 4000}


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ({"top_k": 2}, {0, 1, 2}),
        ({"top_p": 0.6}, {0, 1, 2}),
        ({"top_k": 1}, {0}),
        ({"min_p": 0.3}, {0, 1, 2}),
    ],
)
def test_equals_are_kept_or_left_out_together(choice: dict[str, Any], expected: set[int]) -> None:
    # Probabilities: .57, .21, .21, .00.
    scaled = torch.tensor([[1.0, 0.0, 0.0, -5.0]])
    assert survivors(scaled, [choice]) == [expected]


def test_equals_across_the_candidates_border_are_kept_together() -> None:
    scaled = torch.tensor([[2.0] + [1.0] * (NUM_CANDIDATES + 10) + [0.0] * 100])
    kept = survivors(scaled, [{"top_k": 2}])
    assert kept == [set(range(NUM_CANDIDATES + 11))]
