"""Greedy rows are exact, drawn rows follow the softmax and depend on seed and index alone."""

import hashlib
import struct

import pytest
import torch

from language_service.sampler import INVALID_TOKEN, SamplingRow, gumbel_noise, sample

CPU = torch.device("cpu")
MASK = (1 << 64) - 1


def split_mix(state: int, count: int) -> list[int]:
    """SplitMix64 in plain integers."""
    outputs = []
    for _ in range(count):
        state = (state + 0x9E3779B97F4A7C15) & MASK
        z = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 & MASK
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB & MASK
        outputs.append(z ^ (z >> 31))
    return outputs


def test_greedy_takes_the_largest_logit() -> None:
    logits = torch.tensor([[0.0, 2.0, 1.0], [5.0, 2.0, -1.0]])
    assert sample(logits, [SamplingRow(0.0, 0, 0)] * 2) == [1, 0]


def test_no_rows() -> None:
    assert sample(torch.empty(0, 7), []) == []


def test_generator_is_split_mix() -> None:
    # First outputs for the seed 1234567, as published with the generator.
    assert split_mix(1234567, 2) == [6457827717110365317, 3203168211198807973]


@pytest.mark.parametrize(("seed", "index"), [(0, 0), (7, 3), (MASK, 1000)])
def test_noise_is_the_gumbel_transform_of_the_generator(seed: int, index: int) -> None:
    start = hashlib.blake2b(struct.pack("<QQ", seed, index), digest_size=8).digest()
    bits = split_mix(int.from_bytes(start, "little"), 50)
    uniform = torch.tensor([((z >> 11) + 0.5) / 2**53 for z in bits], dtype=torch.float64)
    assert torch.equal(gumbel_noise(seed, index, 50, CPU), -(-uniform.log()).log())


def test_frequencies_follow_the_softmax() -> None:
    logits = torch.tensor([[2.0, 1.0, 0.0, -1.0, 0.5]])
    temperature, draws = 1.5, 4000
    counts = torch.zeros(5)
    for index in range(draws):
        counts[sample(logits, [SamplingRow(temperature, 11, index)])[0]] += 1
    expected = (logits[0] / temperature).softmax(0) * draws
    chi_square = ((counts - expected) ** 2 / expected).sum()
    assert chi_square < 18.5  # 99.9% of the distribution with 4 degrees of freedom


def test_a_row_does_not_depend_on_its_neighbours() -> None:
    torch.manual_seed(0)
    logits = torch.randn(6, 100)
    rows = [SamplingRow(temperature, 5, 2) for temperature in (0.0, 0.7, 1.0, 0.0, 2.0, 0.7)]
    together = sample(logits, rows)
    apart = [sample(logits[i : i + 1], [row])[0] for i, row in enumerate(rows)]
    assert together == apart


def test_logits_are_left_as_they_are() -> None:
    logits = torch.randn(1, 10)
    before = logits.clone()
    sample(logits, [SamplingRow(1.0, 0, 0)])
    assert torch.equal(logits, before)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_rows_that_are_not_finite_give_no_token(value: float, temperature: float) -> None:
    logits = torch.tensor([[0.0, value, 1.0], [0.0, 9.0, 1.0]])
    row = SamplingRow(temperature, 0, 0)
    assert sample(logits, [row, SamplingRow(0.0, 0, 0)]) == [INVALID_TOKEN, 1]
