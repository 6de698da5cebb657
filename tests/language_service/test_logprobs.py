"""Log probabilities are those of the model's own logits in float32."""

import math

import pytest
import torch

from common.types import SamplingParameters, TokenBias
from language_service.logprobs import TokenLogprob, token_logprobs
from language_service.prompt import Prompt, TextSegment
from language_service.sampler import sample
from language_service.sequence import Sequence

LOGITS = torch.tensor([[0.1, 0.6, 0.3], [0.5, 0.25, 0.25]]).log()


def test_they_are_the_logarithms_of_the_probabilities() -> None:
    one, other = token_logprobs(LOGITS + 7.0, torch.tensor([2, 0]), [2, 0])
    assert one.chosen.token_id == 2
    assert one.chosen.logprob == pytest.approx(math.log(0.3), abs=1e-5)
    assert [each.token_id for each in one.top] == [1, 2]
    assert one.top[0].logprob == pytest.approx(math.log(0.6), abs=1e-5)
    assert other.chosen == TokenLogprob(0, pytest.approx(math.log(0.5), abs=1e-5))
    assert other.top == ()


def test_more_than_the_vocabulary_is_the_vocabulary() -> None:
    (row,) = token_logprobs(LOGITS[:1], torch.tensor([0]), [20])
    assert [each.token_id for each in row.top] == [1, 2, 0]


def test_sampling_does_not_change_them() -> None:
    """A bias forces token 0, and a temperature is set: the report is of the raw logits."""
    sampling = SamplingParameters(
        9, 1.7, 0, logit_bias=(TokenBias(0, 100.0),), repetition_penalty=2.0, num_logprobs=1
    )
    sequence = Sequence("r", Prompt((TextSegment((1,)),)), sampling)
    sampled = sample(LOGITS[:1], [sequence])
    assert sampled.token_ids == [0]
    assert sampled.logprobs[0].chosen.logprob == pytest.approx(math.log(0.1), abs=1e-5)
    assert sampled.logprobs[0].top[0].token_id == 1


def test_only_rows_that_ask_are_reported() -> None:
    prompt = Prompt((TextSegment((1,)),))
    quiet = Sequence("a", prompt, SamplingParameters(9, 0.5, 0))
    asking = Sequence("b", prompt, SamplingParameters(9, 0.0, 0, num_logprobs=0))
    sampled = sample(LOGITS, [quiet, asking])
    assert set(sampled.logprobs) == {1}
    assert sampled.logprobs[1].chosen.token_id == sampled.token_ids[1]
