"""Several answers to one prompt: each as if it were alone, the prompt computed once."""

import asyncio
from dataclasses import replace

import pytest
import torch
from transformers import PreTrainedModel

from common.errors import CancelledRequestError
from common.types import SamplingParameters
from language_service.choices import Choices, ChoicesFinished, choice_seed
from language_service.engine import LanguageEngine
from language_service.generation import GenerationRequest, TokensGenerated
from language_service.loop_mail import LoopMail
from language_service.prompt import HeldSegment, ImageSegment, Prompt, TextSegment, VisualSegment
from language_service.token_keys import TokenKeys, picture_identity
from tests.fakes import settle
from tests.language_service.harness import (
    HIDDEN_SIZE,
    build_engine,
    mixed_prompts,
    run,
    submit,
    text_prompt,
)

NUM_CHOICES = 4
MAX_STEPS = 500
SAMPLING = SamplingParameters(16, 0.9, seed=5, top_p=0.95)
PICTURE = VisualSegment(
    torch.randn(40, HIDDEN_SIZE, generator=torch.Generator().manual_seed(3)),
    picture_identity(b"p", (40,)),
)


class Asked:
    """Choices under way on a real engine, and what came of them."""

    def __init__(self, engine: LanguageEngine, prompt: Prompt, num_choices: int) -> None:
        self.engine = engine
        self.choices = Choices(engine, num_choices, LoopMail(asyncio.get_running_loop()))
        self.request = GenerationRequest("r", prompt, SAMPLING, self.choices.pass_on)
        self.events: list[TokensGenerated | ChoicesFinished] = []

    async def follow(self) -> None:
        """Collect all events, stepping the engine between them."""
        collecting = asyncio.create_task(self.collect())
        for _ in range(MAX_STEPS):
            if collecting.done():
                break
            self.engine.step()
            await settle()
        assert collecting.done()
        await collecting

    async def collect(self) -> None:
        """Collect all events; somebody else steps the engine."""
        async for event in self.choices.events():
            self.events.append(event)

    def token_ids(self, choice: int) -> list[int]:
        tokens = [e for e in self.events if isinstance(e, TokensGenerated) and e.choice == choice]
        return [token_id for event in tokens for token_id in event.token_ids]

    @property
    def finished(self) -> ChoicesFinished:
        assert isinstance(self.events[-1], ChoicesFinished)
        return self.events[-1]


def alone(model: PreTrainedModel, prompt: Prompt, choice: int) -> list[int]:
    """What a request with a choice's seed is answered."""
    engine = build_engine(model)
    seed = choice_seed(SAMPLING.seed, choice)
    answer = submit(engine, "a", prompt, replace(SAMPLING, seed=seed))
    run(engine)
    return answer.token_ids


@pytest.mark.parametrize("prompt", mixed_prompts((90, 33, 2, 51)))
async def test_each_choice_is_as_if_it_were_alone(model: PreTrainedModel, prompt: Prompt) -> None:
    asked = Asked(build_engine(model), prompt, NUM_CHOICES)
    asked.choices.submit(asked.request)
    await asked.follow()
    expected = [alone(model, prompt, choice) for choice in range(NUM_CHOICES)]
    assert [asked.token_ids(choice) for choice in range(NUM_CHOICES)] == expected
    assert [end.choice for end in asked.finished.choices] == list(range(NUM_CHOICES))
    assert len({tuple(answer) for answer in expected}) == NUM_CHOICES


async def test_the_prompt_is_computed_once(model: PreTrainedModel) -> None:
    asked = Asked(build_engine(model), text_prompt(100), NUM_CHOICES)
    asked.choices.submit(asked.request)
    await asked.follow()
    assert [end.num_cached_tokens for end in asked.finished.choices] == [0, 96, 96, 96]


async def test_pictures_that_come_late_reach_every_choice(model: PreTrainedModel) -> None:
    asked = Asked(build_engine(model), Prompt((TEXT, ImageSegment(0), TEXT)), 2)
    asked.choices.submit(asked.request)
    asked.engine.step()
    asked.choices.supply(0, PICTURE)
    await asked.follow()
    assert [asked.token_ids(i) for i in range(2)] == [alone(model, WHOLE, i) for i in range(2)]
    assert asked.choices.prompt.num_visual_tokens == 40


TEXT = TextSegment(tuple(range(1, 20)))
WHOLE = Prompt((TEXT, PICTURE, TEXT))


def with_held_picture(model: PreTrainedModel, num_choices: int) -> Asked:
    """Choices of a prompt whose picture the cache knows."""
    engine = build_engine(model, num_kv_tokens=512)
    submit(engine, "before", WHOLE, SAMPLING)
    run(engine)
    keys = TokenKeys()
    keys.add_text(TEXT.token_ids)
    keys.add_picture(PICTURE.identity, 40)
    hold = engine.hold_pictures(keys, (59,), 59)
    assert hold is not None
    asked = Asked(engine, Prompt((TEXT, HeldSegment(PICTURE.identity, 40), TEXT)), num_choices)
    asked.choices.submit(replace(asked.request, hold=hold))
    return asked


async def test_pictures_that_nobody_sends_are_held_for_every_choice(
    model: PreTrainedModel,
) -> None:
    asked = with_held_picture(model, 3)
    submit(asked.engine, "crowd", text_prompt(200, first=7), SAMPLING)
    await asked.follow()
    assert [asked.token_ids(i) for i in range(3)] == [alone(model, WHOLE, i) for i in range(3)]
    asked.choices.close()
    run(asked.engine)


@pytest.mark.parametrize("num_steps", [0, 1, 2, 5])
async def test_closing_early_leaves_nothing_behind(model: PreTrainedModel, num_steps: int) -> None:
    asked = with_held_picture(model, 3)
    following = asyncio.create_task(asked.collect())
    for _ in range(num_steps):
        asked.engine.step()
        await settle()
    asked.choices.close()
    assert not asked.engine.step()
    run(asked.engine)
    with pytest.raises(CancelledRequestError):
        await following


def test_the_first_choice_has_the_requests_own_seed_and_the_others_their_own() -> None:
    seeds = [choice_seed(2**63 - 1, choice) for choice in range(16)]
    assert seeds[0] == 2**63 - 1
    assert len(set(seeds)) == 16
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert choice_seed(1, 1) != choice_seed(2, 1)
