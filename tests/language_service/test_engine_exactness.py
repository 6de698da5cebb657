"""In float32 the engine gives, token for token, what transformers' `generate` gives."""

import pytest
import torch
from transformers import PreTrainedModel, Qwen2Config

from common.types import FinishReason, SamplingParameters
from language_service.attention import PAGED_ATTENTION, PAGED_ATTENTION_REFERENCE
from language_service.engine import LanguageEngine
from language_service.prompt import Prompt, TextSegment
from language_service.sampler import gumbel_noise, noise_start
from language_service.scheduler import EngineLimits
from tests.language_service.harness import (
    HIDDEN_SIZE,
    VOCABULARY_SIZE,
    Answer,
    build_engine,
    build_model,
    generate,
    greedy,
    mixed_prompts,
    run,
    submit,
)

MAX_TOKENS = 24
PROMPTS = mixed_prompts()


@pytest.fixture(scope="module")
def expected(plain_model: PreTrainedModel) -> list[list[int]]:
    return [generate(plain_model, prompt, MAX_TOKENS) for prompt in PROMPTS]


def alone(engine: LanguageEngine, sampling: SamplingParameters) -> list[Answer]:
    answers = []
    for index, prompt in enumerate(PROMPTS):
        answers.append(submit(engine, str(index), prompt, sampling))
        run(engine)
    return answers


def crowded(engine: LanguageEngine, sampling: SamplingParameters) -> list[Answer]:
    answers = [submit(engine, str(i), prompt, sampling) for i, prompt in enumerate(PROMPTS)]
    run(engine)
    return answers


def staggered(engine: LanguageEngine, sampling: SamplingParameters) -> list[Answer]:
    answers = []
    for index, prompt in enumerate(PROMPTS):
        answers.append(submit(engine, str(index), prompt, sampling))
        for _ in range(index):
            engine.step()
    run(engine)
    return answers


def test_the_expected_answers_are_varied(expected: list[list[int]]) -> None:
    assert len({token_id for answer in expected for token_id in answer}) > 80


@pytest.mark.parametrize("schedule", [alone, crowded, staggered])
@pytest.mark.parametrize("max_batch_tokens", [16, 64, 512])
@pytest.mark.parametrize("attention", [PAGED_ATTENTION, PAGED_ATTENTION_REFERENCE])
def test_greedy_answers_equal_generate(
    attention: str, max_batch_tokens: int, schedule, expected: list[list[int]]
) -> None:
    limits = EngineLimits(256, max_batch_tokens, max_sequences=8)
    answers = schedule(build_engine(build_model(attention), limits), greedy(MAX_TOKENS))
    assert [answer.token_ids for answer in answers] == expected


def test_few_seats_do_not_change_answers(model: PreTrainedModel, expected: list[list[int]]) -> None:
    engine = build_engine(model, EngineLimits(256, 32, max_sequences=3), num_kv_tokens=256)
    answers = staggered(engine, greedy(MAX_TOKENS))
    assert [answer.token_ids for answer in answers] == expected


def test_models_of_the_generation_before_are_exact_too() -> None:
    config = Qwen2Config(
        vocab_size=VOCABULARY_SIZE,
        hidden_size=HIDDEN_SIZE,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        initializer_range=0.2,
    )
    reference = build_model("eager", config)
    answers = crowded(build_engine(build_model(PAGED_ATTENTION, config)), greedy(8))
    assert [answer.token_ids for answer in answers] == [
        generate(reference, prompt, 8) for prompt in PROMPTS
    ]


def test_bfloat16_begins_as_generate_does() -> None:
    reference = build_model("eager").bfloat16()
    engine = build_engine(build_model(PAGED_ATTENTION).bfloat16())
    rounded = [prompt.map_embeddings(lambda rows: rows.bfloat16()) for prompt in PROMPTS]
    answers = [submit(engine, str(i), prompt, greedy(8)) for i, prompt in enumerate(PROMPTS)]
    run(engine)
    expected = [generate(reference, prompt, 1) for prompt in rounded]
    agreeing = [a.token_ids[:1] == e for a, e in zip(answers, expected, strict=True)]
    # Near ties may fall either way in this type; most prompts are none.
    assert sum(agreeing) >= 6
    assert all(answer.finished.num_completion_tokens == 8 for answer in answers)


def test_drawn_answers_follow_logits_and_noise(
    model: PreTrainedModel, plain_model: PreTrainedModel
) -> None:
    ids, temperature, seed = [3, 1, 4, 1, 5], 1.5, 99
    engine, prompt = build_engine(model), Prompt((TextSegment(tuple(ids)),))
    answer = submit(engine, "a", prompt, SamplingParameters(12, temperature, seed))
    run(engine)
    for index, token_id in enumerate(answer.token_ids):
        logits = plain_model(torch.tensor([ids])).logits[0, -1].double()
        noise = gumbel_noise(
            torch.tensor([noise_start(seed, index)]), torch.arange(VOCABULARY_SIZE)[None]
        )[0]
        assert token_id == int((logits / temperature + noise).argmax())
        ids.append(token_id)


def test_seeded_answers_do_not_depend_on_company(model: PreTrainedModel) -> None:
    sampling = SamplingParameters(MAX_TOKENS, temperature=0.8, seed=1 << 63)
    apart = [answer.token_ids for answer in alone(build_engine(model), sampling)]
    together = [answer.token_ids for answer in crowded(build_engine(model), sampling)]
    assert apart == together


def test_seeds_and_temperatures_change_answers(model: PreTrainedModel) -> None:
    choices = [(0.0, 1), (0.8, 1), (0.8, 2), (2.0, 1)]
    prompt, engine = PROMPTS[0], build_engine(model)
    answers = [
        submit(engine, str(choice), prompt, SamplingParameters(16, *choice)) for choice in choices
    ]
    run(engine)
    assert len({tuple(answer.token_ids) for answer in answers}) == len(choices)


@pytest.mark.parametrize("prompt", PROMPTS[:3])
def test_end_token_ends_the_answer_and_is_not_part_of_it(
    model: PreTrainedModel, plain_model: PreTrainedModel, prompt: Prompt
) -> None:
    eos = generate(plain_model, prompt, MAX_TOKENS)[10]
    *expected, last = generate(plain_model, prompt, MAX_TOKENS, eos)
    engine = build_engine(model, eos_token_ids=frozenset({eos}))
    answer = submit(engine, "a", prompt, greedy(MAX_TOKENS))
    run(engine)
    assert last == eos
    assert answer.token_ids == expected
    assert answer.finished.finish_reason is FinishReason.STOP
    assert answer.finished.num_completion_tokens == len(expected)
