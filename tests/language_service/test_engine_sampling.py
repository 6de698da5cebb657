"""Every sampling choice through the engine: applied, reproducible, and ended where it should."""

from typing import Any

import pytest
import torch
from transformers import (
    LogitsProcessorList,
    MinPLogitsWarper,
    PreTrainedModel,
    RepetitionPenaltyLogitsProcessor,
    SequenceBiasLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from common.types import FinishReason, SamplingParameters, StopMatch, TokenBias
from language_service.engine import LanguageEngine
from language_service.generation import TokensGenerated
from language_service.prompt import Prompt, TextSegment
from language_service.sampler import gumbel_noise, noise_start
from language_service.scheduler import EngineLimits
from tests.language_service.harness import (
    VOCABULARY_SIZE,
    Answer,
    build_engine,
    mixed_prompts,
    run,
    submit,
)

IDS = [3, 1, 4, 1, 5]
PROMPT = Prompt((TextSegment(tuple(IDS)),))
PROMPTS = mixed_prompts()


def choose(max_tokens: int = 16, temperature: float = 0.0, **fields: Any) -> SamplingParameters:
    return SamplingParameters(max_tokens, temperature, fields.pop("seed", 7), **fields)


def answer(
    model: PreTrainedModel,
    max_tokens: int = 16,
    eos: frozenset[int] = frozenset(),
    **fields: Any,
) -> Answer:
    engine = build_engine(model, eos_token_ids=eos)
    answered = submit(engine, "a", PROMPT, choose(max_tokens, **fields))
    run(engine)
    return answered


@pytest.mark.parametrize("penalty", [0.7, 1.4])
def test_repetition_penalty_is_that_of_generate(
    model: PreTrainedModel, plain_model: PreTrainedModel, penalty: float
) -> None:
    inputs = torch.tensor([IDS])
    options = {"do_sample": False, "max_new_tokens": 16, "pad_token_id": 0}
    expected = plain_model.generate(
        inputs, attention_mask=torch.ones_like(inputs), repetition_penalty=penalty, **options
    )
    assert answer(model, repetition_penalty=penalty).token_ids == expected[0, len(IDS) :].tolist()


def test_a_drawn_answer_follows_transformers_processors_and_the_noise(
    model: PreTrainedModel, plain_model: PreTrainedModel
) -> None:
    processors = LogitsProcessorList(
        [
            SequenceBiasLogitsProcessor([[[9], 4.0]]),
            RepetitionPenaltyLogitsProcessor(1.3),
            TemperatureLogitsWarper(1.5),
            TopKLogitsWarper(100),
            TopPLogitsWarper(0.9),
            MinPLogitsWarper(0.01),
        ]
    )
    drawn = answer(
        model,
        temperature=1.5,
        top_k=100,
        top_p=0.9,
        min_p=0.01,
        repetition_penalty=1.3,
        logit_bias=(TokenBias(9, 4.0),),
    ).token_ids
    ids = list(IDS)
    for index, token_id in enumerate(drawn):
        scores = processors(torch.tensor([ids]), plain_model(torch.tensor([ids])).logits[:, -1])
        noise = gumbel_noise(
            torch.tensor([noise_start(7, index)]), torch.arange(VOCABULARY_SIZE)[None]
        )
        assert token_id == int((scores.double() + noise).argmax())
        ids.append(token_id)
    assert len(set(drawn)) > 5


def test_presence_and_frequency_follow_the_formula_along_the_answer(
    model: PreTrainedModel, plain_model: PreTrainedModel
) -> None:
    penalised = answer(model, 30, presence_penalty=2.0, frequency_penalty=1.5).token_ids
    output: list[int] = []
    for token_id in penalised:
        with torch.no_grad():
            scores = plain_model(torch.tensor([IDS + output])).logits[0, -1]
        for seen in set(output):
            scores[seen] -= 2.0 + 1.5 * output.count(seen)
        assert token_id == int(scores.argmax())
        output.append(token_id)
    assert penalised != answer(model, 30).token_ids


CHOICES: list[dict[str, Any]] = [
    {"temperature": 1.0},
    {"temperature": 0.8, "top_p": 0.9, "seed": 3},
    {"temperature": 1.5, "top_k": 20, "repetition_penalty": 1.2, "seed": 9},
    {"presence_penalty": 1.0, "frequency_penalty": 0.5},
    {"temperature": 2.0, "min_p": 0.05, "logit_bias": (TokenBias(4, 3.0),)},
    {},
]


def mixed(engine: LanguageEngine, together: bool) -> list[list[int]]:
    answers = []
    for index, prompt in enumerate(PROMPTS):
        sampling = choose(24, **CHOICES[index % len(CHOICES)])
        answers.append(submit(engine, str(index), prompt, sampling))
        if not together:
            run(engine)
    run(engine)
    return [each.token_ids for each in answers]


def test_answers_depend_neither_on_company_nor_on_preemption(model: PreTrainedModel) -> None:
    apart = mixed(build_engine(model), together=False)
    assert mixed(build_engine(model), together=True) == apart
    limits = EngineLimits(256, 64, max_sequences=8)
    cramped = build_engine(model, limits, num_kv_tokens=256, block_size=4)
    assert mixed(cramped, together=True) == apart
    assert cramped.num_preemptions > 0


def test_a_stop_text_ends_the_answer_across_tokens_and_is_no_part_of_it(
    model: PreTrainedModel,
) -> None:
    whole = answer(model)
    fourth, fifth = whole.token_ids[4:6]
    stop = f"{fourth} {fifth}"[1:]
    assert stop not in whole.text[: whole.text.index(stop)]
    stopped = answer(model, stop_strings=("never", stop))
    before, _, _ = whole.text.partition(stop)
    assert (stopped.text, stopped.token_ids) == (before, whole.token_ids[:6])
    assert stopped.finished.finish_reason is FinishReason.STOP
    assert stopped.finished.stop == StopMatch(text=stop)
    assert stopped.finished.num_completion_tokens == 6


def test_a_stop_text_that_never_completes_holds_nothing_back(model: PreTrainedModel) -> None:
    whole = answer(model)
    held = answer(model, stop_strings=(f"{whole.token_ids[-1]} !",))
    assert (held.text, held.token_ids) == (whole.text, whole.token_ids)
    assert held.finished.finish_reason is FinishReason.LENGTH
    assert held.finished.stop is None


def test_a_stop_text_in_the_last_token_wins_over_the_limit(model: PreTrainedModel) -> None:
    last = answer(model).token_ids[-1]
    stopped = answer(model, stop_strings=(f"{last} ",))
    assert stopped.finished.finish_reason is FinishReason.STOP


def test_a_stop_token_ends_the_answer_and_is_named(model: PreTrainedModel) -> None:
    token_ids = answer(model).token_ids
    stop = token_ids[5]
    for eos in (frozenset[int](), frozenset({stop})):
        stopped = answer(model, eos=eos, stop_token_ids=(499, stop))
        assert stopped.token_ids == token_ids[: token_ids.index(stop)]
        assert stopped.finished.stop == StopMatch(token_id=stop)
        assert stopped.finished.finish_reason is FinishReason.STOP


def test_end_tokens_may_be_ignored(model: PreTrainedModel) -> None:
    token_ids = answer(model).token_ids
    eos = frozenset({token_ids[3]})
    assert len(answer(model, eos=eos).token_ids) <= 3
    ignoring = answer(model, eos=eos, ignore_eos=True)
    assert ignoring.token_ids == token_ids
    assert ignoring.finished.finish_reason is FinishReason.LENGTH


def test_logprobs_are_those_of_the_model_along_the_answer(
    model: PreTrainedModel, plain_model: PreTrainedModel
) -> None:
    answered = answer(model, temperature=1.5, top_k=50, num_logprobs=3)
    events = [e for e in answered.events if isinstance(e, TokensGenerated)]
    reported = [each for event in events for each in event.logprobs]
    ids = list(IDS)
    for token_id, each in zip(answered.token_ids, reported, strict=True):
        with torch.no_grad():
            expected = plain_model(torch.tensor([ids])).logits[0, -1].log_softmax(-1)
        assert each.chosen.token_id == token_id
        assert each.chosen.logprob == pytest.approx(float(expected[token_id]), abs=1e-4)
        assert [top.token_id for top in each.top] == expected.topk(3).indices.tolist()
        ids.append(token_id)


def test_nothing_is_reported_unless_asked_for(model: PreTrainedModel) -> None:
    events = answer(model, temperature=1.0).events
    assert all(e.logprobs == () for e in events if isinstance(e, TokensGenerated))
