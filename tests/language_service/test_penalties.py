"""Biases and penalties against the formulas and against transformers' processors."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import RepetitionPenaltyLogitsProcessor, SequenceBiasLogitsProcessor

from common.types import SamplingParameters, TokenBias
from language_service.penalties import PenalisedRow, TokenHistory, add_biases, penalise

VOCABULARY_SIZE = 20
tokens = st.lists(st.integers(0, VOCABULARY_SIZE - 1), max_size=30)


def history(prompt: list[int], output: list[int]) -> TokenHistory:
    made = TokenHistory.of_prompt(prompt)
    made.catch_up(output)
    return made


def sampling(
    repetition: float = 1.0, presence: float = 0.0, frequency: float = 0.0
) -> SamplingParameters:
    return SamplingParameters(
        1,
        0.0,
        0,
        repetition_penalty=repetition,
        presence_penalty=presence,
        frequency_penalty=frequency,
    )


@pytest.mark.parametrize("penalty", [0.5, 1.3, 4.0])
def test_repetition_is_that_of_transformers_over_prompt_and_answer(penalty: float) -> None:
    torch.manual_seed(0)
    scores, prompt, output = torch.randn(1, VOCABULARY_SIZE), [3, 4, 4, 9], [9, 1, 0]
    expected = RepetitionPenaltyLogitsProcessor(penalty)(
        torch.tensor([prompt + output]), scores.clone()
    )
    penalise(scores, [PenalisedRow(0, sampling(penalty), history(prompt, output))])
    assert torch.equal(scores, expected)


def test_bias_is_that_of_transformers() -> None:
    torch.manual_seed(0)
    scores = torch.randn(2, VOCABULARY_SIZE)
    theirs = SequenceBiasLogitsProcessor([[[3], 2.5], [[7], -100.0]])
    expected = theirs(torch.zeros(2, 1, dtype=torch.int64), scores.clone())
    add_biases(scores, {1: (TokenBias(3, 2.5), TokenBias(7, -100.0)), 0: ()})
    assert torch.equal(scores[1], expected[1])
    assert not torch.equal(scores[0], expected[0])


@given(tokens, tokens, st.floats(-2, 2), st.floats(-2, 2))
def test_presence_and_frequency_count_the_answer_alone(
    prompt: list[int], output: list[int], presence: float, frequency: float
) -> None:
    scores = torch.zeros(1, VOCABULARY_SIZE)
    chosen = sampling(presence=presence, frequency=frequency)
    penalise(scores, [PenalisedRow(0, chosen, history(prompt, output))])
    expected = [
        -(frequency * output.count(token_id) + presence * (token_id in output))
        for token_id in range(VOCABULARY_SIZE)
    ]
    assert torch.allclose(scores[0], torch.tensor(expected), atol=1e-5)


@given(st.lists(st.tuples(tokens, tokens), min_size=1, max_size=4))
def test_rows_are_penalised_apart(rows: list[tuple[list[int], list[int]]]) -> None:
    generator = torch.Generator().manual_seed(len(rows))
    scores = torch.randn(len(rows) + 1, VOCABULARY_SIZE, generator=generator)
    chosen = [sampling(1.0 + i / 2, 0.5 * i, 0.25) for i in range(len(rows))]
    made = [PenalisedRow(i, chosen[i], history(*row)) for i, row in enumerate(rows)]
    apart = scores.clone()
    for each in made:
        penalise(apart, [each])
    untouched = scores[-1].clone()
    penalise(scores, made)
    assert torch.equal(scores, apart)
    assert torch.equal(scores[-1], untouched)


@given(tokens, tokens, st.integers(0, 30))
def test_a_history_may_catch_up_at_any_time(
    prompt: list[int], output: list[int], seen: int
) -> None:
    late = history(prompt, output[:seen])
    late.catch_up(output)
    assert late == history(prompt, output)
    assert set(late.counts) == {*prompt, *output}
