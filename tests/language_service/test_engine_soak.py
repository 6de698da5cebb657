"""Long and mixed use of one engine: company changes no answer, and every block comes back."""

import random
from dataclasses import replace

import pytest
from transformers import PreTrainedModel

from common.errors import CancelledRequestError
from language_service.engine import LanguageEngine
from language_service.generation import TokensGenerated
from language_service.prompt import ImageSegment, Prompt, TextSegment, VisualSegment
from language_service.scheduler import EngineLimits
from tests.language_service.harness import (
    Answer,
    build_engine,
    greedy,
    mixed_prompts,
    run,
    submit,
    text_prompt,
)

PROMPTS = mixed_prompts((30, 60, 9, 80))


def logprobs(answer: Answer) -> list[float]:
    tokens = [event for event in answer.events if isinstance(event, TokensGenerated)]
    return [each.chosen.logprob for event in tokens for each in event.logprobs]


def ask(engine: LanguageEngine, prompt: Prompt) -> Answer:
    return submit(engine, "asked", prompt, replace(greedy(20), num_logprobs=0))


@pytest.mark.parametrize("num_strangers", [1, 7, 31])
@pytest.mark.parametrize("prompt", PROMPTS)
def test_strangers_change_neither_tokens_nor_probabilities(
    model: PreTrainedModel, prompt: Prompt, num_strangers: int
) -> None:
    alone = ask(engine := build_engine(model), prompt)
    run(engine)
    engine = build_engine(model, EngineLimits(256, 64, 32), num_kv_tokens=8192)
    for number in range(num_strangers):
        submit(engine, str(number), text_prompt(5 + 3 * number, 7 * number), greedy(30))
        engine.step()
    crowded = ask(engine, prompt)
    run(engine)
    assert crowded.token_ids == alone.token_ids
    assert len(logprobs(crowded)) == 20
    assert logprobs(crowded) == pytest.approx(logprobs(alone), abs=1e-4)


def waiting(prompt: Prompt) -> tuple[Prompt, VisualSegment | None]:
    """A prompt without its picture, and the picture."""
    for segment in prompt.segments:
        if isinstance(segment, VisualSegment) and len(segment.embeddings):
            place = tuple(ImageSegment(0) if s is segment else s for s in prompt.segments)
            return Prompt(place), segment
    return prompt, None


def test_after_a_long_day_every_block_is_free(model: PreTrainedModel) -> None:
    chance = random.Random(5)  # noqa: S311
    engine = build_engine(model, EngineLimits(160, 48, 6), num_kv_tokens=384, block_size=4)
    answers: dict[int, tuple[Prompt, Answer]] = {}
    coming: dict[int, VisualSegment] = {}
    for number in range(60):
        prompt = chance.choice(PROMPTS)
        if chance.random() < 0.5:
            tail = TextSegment(tuple(range(chance.randint(1, 20))))
            prompt = Prompt((*prompt.segments, tail))
        asked, picture = waiting(prompt)
        if picture is not None:
            coming[number] = picture
        answers[number] = prompt, submit(engine, str(number), asked, greedy(30))
        for _ in range(chance.randint(0, 12)):
            engine.step()
        for late in [each for each in coming if chance.random() < 0.4]:
            engine.supply(str(late), 0, coming.pop(late))
        if chance.random() < 0.2:
            engine.cancel(str(chance.choice(list(answers))))
    for late, picture in coming.items():
        engine.supply(str(late), 0, picture)
    run(engine)
    engine._blocks.check_integrity()
    assert engine.num_preemptions > 0
    check_answers(model, list(answers.values()))


def check_answers(model: PreTrainedModel, answers: list[tuple[Prompt, Answer]]) -> None:
    """Compare what was not cancelled with a fresh engine's answers."""
    whole = 0
    for prompt, answer in answers:
        if not isinstance(answer.events[-1], TokensGenerated) and answer.token_ids:
            alone = ask_all(model, prompt)
            is_cancelled = len(answer.token_ids) < 30
            assert alone[: len(answer.token_ids)] == answer.token_ids
            if is_cancelled:
                assert isinstance(answer.error, CancelledRequestError)
            whole += not is_cancelled
    assert whole > 25


def ask_all(model: PreTrainedModel, prompt: Prompt) -> list[int]:
    answer = submit(engine := build_engine(model), "alone", prompt, greedy(30))
    run(engine)
    return answer.token_ids
