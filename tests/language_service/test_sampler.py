"""Greedy rows are exact; drawn rows follow their distribution, by seed and index alone."""

import hashlib
import struct
from typing import Any, ClassVar

import pytest
import torch

from common.types import SamplingParameters, TokenBias
from language_service.prompt import Prompt, TextSegment
from language_service.sampler import INVALID_TOKEN, gumbel_noise, noise_start, sample
from language_service.sequence import Sequence

MASK = (1 << 64) - 1


def row(
    temperature: float = 0.0, seed: int = 0, outputs: tuple[int, ...] = (), **sampling: Any
) -> Sequence:
    """A sequence with a prompt of the tokens 1 and 2 and an answer under way."""
    chosen = SamplingParameters(99, temperature, seed, **sampling)
    return Sequence("r", Prompt((TextSegment((1, 2)),)), chosen, output_ids=list(outputs))


def at(index: int, temperature: float, seed: int, **sampling: Any) -> Sequence:
    """A sequence that is to get the output token of this index."""
    return row(temperature, seed, (0,) * index, **sampling)


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
    assert sample(logits, [row(), row()]).token_ids == [1, 0]


def test_no_rows() -> None:
    assert sample(torch.empty(0, 7), []).token_ids == []


def test_generator_is_split_mix() -> None:
    # First outputs for the seed 1234567, as published with the generator.
    assert split_mix(1234567, 2) == [6457827717110365317, 3203168211198807973]


@pytest.mark.parametrize(("seed", "index"), [(0, 0), (7, 3), (MASK, 1000)])
def test_noise_is_the_gumbel_transform_of_the_generator(seed: int, index: int) -> None:
    start = hashlib.blake2b(struct.pack("<QQ", seed, index), digest_size=8).digest()
    bits = split_mix(int.from_bytes(start, "little"), 50)
    uniform = torch.tensor([((z >> 11) + 0.5) / 2**53 for z in bits], dtype=torch.float64)
    noise = gumbel_noise(torch.tensor([noise_start(seed, index)]), torch.arange(50)[None])
    assert torch.equal(noise[0], -(-uniform.log()).log())


def test_noise_of_a_token_does_not_depend_on_the_others() -> None:
    starts = torch.tensor([noise_start(1, 0), noise_start(2, 5)])
    whole = gumbel_noise(starts, torch.arange(40)[None])
    some = torch.tensor([[3, 39, 7], [0, 1, 20]])
    assert torch.equal(gumbel_noise(starts, some), whole.gather(1, some))


LOGITS = torch.tensor([2.0, 1.0, 0.0, -1.0, 0.5])


@pytest.mark.parametrize(
    ("filters", "survivors"),
    [
        ({}, [0, 1, 2, 3, 4]),
        ({"top_k": 3}, [0, 1, 4]),
        ({"top_p": 0.8}, [0, 1, 4]),
        ({"min_p": 0.25}, [0, 1, 2, 4]),
    ],
)
def test_frequencies_follow_the_softmax_of_the_survivors(
    filters: dict[str, Any], survivors: list[int]
) -> None:
    temperature, draws = 1.5, 4000
    rows = [at(index % 50, temperature, seed=index // 50, **filters) for index in range(draws)]
    counts = torch.bincount(
        torch.tensor(sample(LOGITS.expand(draws, -1), rows).token_ids), minlength=5
    )
    expected = (LOGITS[survivors] / temperature).softmax(0) * draws
    assert counts[survivors].sum() == draws
    chi_square = ((counts[survivors] - expected) ** 2 / expected).sum()
    assert chi_square < 18.5  # 99.9% of the distribution with 4 degrees of freedom


MIXED: list[dict[str, Any]] = [
    {},
    {"temperature": 0.7},
    {"temperature": 1.3, "seed": 6},
    {"temperature": 1.0, "top_k": 5},
    {"repetition_penalty": 1.8},
    {"temperature": 2.0, "top_p": 0.6, "presence_penalty": 1.0},
    {"logit_bias": (TokenBias(7, 50.0),)},
    {"temperature": 0.7, "min_p": 0.2, "frequency_penalty": 0.5, "num_logprobs": 2},
    {"num_logprobs": 0},
]


@pytest.mark.parametrize("vocabulary_size", [100, 70_000])  # all rows at a time, and one
def test_a_row_does_not_depend_on_its_neighbours(vocabulary_size: int) -> None:
    torch.manual_seed(0)
    logits = torch.randn(len(MIXED), vocabulary_size) * 3

    def rows() -> list[Sequence]:
        return [row(**{"seed": 5, "outputs": (4, 8, 4), **sampling}) for sampling in MIXED]

    together = sample(logits, rows())
    for index, alone in enumerate(rows()):
        apart = sample(logits[index : index + 1], [alone])
        assert together.token_ids[index] == apart.token_ids[0]
        assert together.logprobs.get(index) == apart.logprobs.get(0)
    assert together.token_ids[6] == 7


def test_seed_and_index_change_the_draw() -> None:
    logits = torch.zeros(1, 1000)
    drawn = {
        sample(logits, [at(index, 1.0, seed)]).token_ids[0]
        for seed in range(5)
        for index in range(5)
    }
    assert len(drawn) > 20


@pytest.mark.parametrize("sampling", MIXED)
def test_logits_are_left_as_they_are(sampling: dict[str, Any]) -> None:
    logits = torch.randn(1, 10)
    before = logits.clone()
    sample(logits, [row(outputs=(3,), **sampling)])
    assert torch.equal(logits, before)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("sampling", [*MIXED, {"temperature": 1.0, "top_p": 0.5}])
def test_rows_that_are_not_finite_give_no_token(value: float, sampling: dict[str, Any]) -> None:
    logits = torch.tensor([[0.0, value, 1.0] + [0.0] * 9, [0.0, 9.0, 1.0] + [0.0] * 9])
    assert sample(logits, [row(**sampling), row()]).token_ids == [INVALID_TOKEN, 1]


@pytest.mark.parametrize("sampling", [*MIXED, {"temperature": 1.0, "top_p": 0.5}])
def test_a_token_that_cannot_be_is_never_drawn(sampling: dict[str, Any]) -> None:
    never = float("-inf")
    logits = torch.tensor([[0.0, never, 1.0] + [0.0] * 9, [never] * 12])
    drawn = [
        sample(logits, [row(**{**sampling, "seed": seed}), row()]).token_ids for seed in range(20)
    ]
    assert {first for first, _ in drawn} <= {0, *range(2, 12)}
    assert {second for _, second in drawn} == {INVALID_TOKEN}


class CountingLogits(torch.Tensor):
    """Remembers which functions were called on it."""

    called: ClassVar[set[str]] = set()

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        cls.called.add(func.__name__)
        return super().__torch_function__(func, types, args, kwargs or {})


def test_a_step_of_greedy_rows_is_one_argmax() -> None:
    CountingLogits.called.clear()
    logits = torch.randn(4, 10).as_subclass(CountingLogits)
    sample(logits, [row() for _ in range(4)])
    searches = {"argmax", "numpy"}
    assert len(CountingLogits.called & searches) == 1
    others = {"float", "gather", "__getitem__", "tolist", "__get__"}
    assert CountingLogits.called <= searches | others
