"""In float32 every model gives `generate`'s tokens, however its step was put together.

Kinds of models, budgets, company, block sizes, what the cache knows, giving way, back ends and
layers: here every two choices meet; the slow test has every case.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import pytest

from language_service.attention import PAGED_ATTENTION, PAGED_ATTENTION_REFERENCE
from language_service.engine import LanguageEngine
from language_service.generation import GenerationRequest
from language_service.packed_linear import pack_linears
from language_service.prompt import (
    HeldSegment,
    Prompt,
    PromptSegment,
    TextSegment,
    VisualSegment,
    segment_length,
)
from language_service.scheduler import EngineLimits, _Draft
from language_service.token_keys import TokenKeys, picture_identity
from tests.language_service.covering import Case, full, pairwise
from tests.language_service.harness import (
    Answer,
    build_engine,
    generate,
    greedy,
    mixed_prompts,
    run,
    submit,
)
from tests.language_service.language_models import CONFIGS, build_language_model

MAX_TOKENS = 12
MAX_PREEMPTIONS = 6


def with_identities(prompt: Prompt, name: int) -> Prompt:
    """The same prompt, its picture named."""
    return Prompt(
        tuple(
            VisualSegment(s.embeddings, picture_identity(bytes([name]), (segment_length(s),)))
            if isinstance(s, VisualSegment)
            else s
            for s in prompt.segments
        )
    )


PROMPTS = [
    with_identities(prompt, name) for name, prompt in enumerate(mixed_prompts((7, 70, 33, 24)))
]
# Other ids where prompts diverge; no prompt holds this many equal ones.
OTHER = TextSegment((9,) * 5)


@dataclass
class Driver:
    """An engine that makes its newest sequence give way now and then.

    Attributes:
        engine: Under test.
        preempts: Whether it does so.
    """

    engine: LanguageEngine
    preempts: bool
    num_steps: int = 0

    def step(self) -> bool:
        scheduler = self.engine._scheduler
        self.num_steps += 1
        is_time = self.num_steps % 3 == 0 and scheduler.num_preemptions < MAX_PREEMPTIONS
        if self.preempts and is_time and scheduler._running:
            scheduler._preempt(_Draft(0), list(scheduler._running)[-1])
        return self.engine.step()

    def run(self) -> None:
        while self.step():
            pass
        run(self.engine)


Ask = Callable[[int], Answer]


def alone(driver: Driver, ask: Ask) -> list[Answer]:
    answers = []
    for index in range(len(PROMPTS)):
        answers.append(ask(index))
        driver.run()
    return answers


def crowded(driver: Driver, ask: Ask) -> list[Answer]:
    answers = [ask(index) for index in range(len(PROMPTS))]
    driver.run()
    return answers


def staggered(driver: Driver, ask: Ask) -> list[Answer]:
    answers = []
    for index in range(len(PROMPTS)):
        answers.append(ask(index))
        for _ in range(2 * index):
            driver.step()
    driver.run()
    return answers


def leave_cold(engine: LanguageEngine) -> None:
    """Let the cache know nothing."""
    assert engine.kept_kv_tokens == 0


def begin_differently(engine: LanguageEngine) -> None:
    """Let the cache know the first half of every prompt."""
    for index, prompt in enumerate(PROMPTS):
        half = prompt.slice(0, prompt.num_tokens // 2).segments
        if isinstance(half[-1], VisualSegment):
            half = half[:-1]
        submit(engine, f"before {index}", Prompt((*half, OTHER)), greedy(1))
    run(engine)


def ask_before(engine: LanguageEngine) -> None:
    """Let the cache know every prompt and the begin of its answer."""
    for index, prompt in enumerate(PROMPTS):
        submit(engine, f"before {index}", prompt, greedy(4))
    run(engine)


def show_before(engine: LanguageEngine) -> None:
    """Let the cache know every picture at its place."""
    for index, prompt in enumerate(PROMPTS):
        submit(engine, f"before {index}", Prompt((*prompt.segments[:2], OTHER)), greedy(2))
    run(engine)


def submit_held(engine: LanguageEngine, index: int) -> Answer:
    """Ask without the picture itself, which the cache must hold."""
    keys, ends = TokenKeys(), []
    segments: list[PromptSegment] = []
    for segment in PROMPTS[index].segments:
        if isinstance(segment, VisualSegment):
            assert segment.identity is not None
            keys.add_picture(segment.identity, segment_length(segment))
            ends.append(keys.num_tokens)
            segments.append(HeldSegment(segment.identity, segment_length(segment)))
        elif isinstance(segment, TextSegment):
            keys.add_text(segment.token_ids)
            segments.append(segment)
    hold = engine.hold_pictures(keys, tuple(ends), keys.num_tokens - 1)
    assert hold is not None
    answer = Answer()
    request = GenerationRequest(
        str(index), Prompt(tuple(segments)), greedy(MAX_TOKENS), answer.events.append, hold
    )
    engine.submit(request)
    return answer


PREPARATIONS: dict[str, Callable[[LanguageEngine], None]] = {
    "cold": leave_cold,
    "partial": begin_differently,
    "warm": ask_before,
    "picture hit": show_before,
}
FACTORS = {
    "kind": list(CONFIGS),
    "budget": [16, 64, 512],
    "schedule": [alone, crowded, staggered],
    "block size": [4, 16],
    "prefix": list(PREPARATIONS),
    "preempted": [False, True],
    "attention": [PAGED_ATTENTION, PAGED_ATTENTION_REFERENCE],
    "layers": ["plain", "packed"],
}


def name_of(case: Case) -> str:
    return "-".join(getattr(choice, "__name__", str(choice)) for choice in case)


@cache
def expected(kind: str) -> list[list[int]]:
    model = build_language_model(kind, "eager")
    return [generate(model, prompt, MAX_TOKENS) for prompt in PROMPTS]


@cache
def model_of(kind: str, attention: str, layers: str):
    model = build_language_model(kind, attention)
    if layers == "packed":
        pack_linears(model)
    return model


def check(case: Case) -> None:
    kind, budget, schedule, block_size, prefix, preempts, attention, layers = case
    limits = EngineLimits(max_context_tokens=128, max_batch_tokens=budget, max_sequences=4)
    engine = build_engine(model_of(kind, attention, layers), limits, 1024, block_size=block_size)
    PREPARATIONS[prefix](engine)
    before = engine.stats.num_hit_tokens

    def ask(index: int) -> Answer:
        if prefix == "picture hit":
            return submit_held(engine, index)
        return submit(engine, str(index), PROMPTS[index], greedy(MAX_TOKENS))

    answers = schedule(Driver(engine, preempts), ask)
    assert [answer.token_ids for answer in answers] == expected(kind)
    assert (engine.stats.num_hit_tokens > before) == (prefix != "cold")
    assert (engine.num_preemptions > 0) == preempts
    engine._blocks.check_integrity()


@pytest.mark.parametrize("case", pairwise(FACTORS), ids=name_of)
def test_every_two_choices_give_the_tokens_of_generate(case: Case) -> None:
    check(case)


@pytest.mark.slow
@pytest.mark.parametrize("kind", CONFIGS)
@pytest.mark.parametrize("attention", FACTORS["attention"])
def test_every_case_gives_the_tokens_of_generate(kind: str, attention: str) -> None:
    for case in full(FACTORS | {"kind": [kind], "attention": [attention]}):
        check(case)


def test_pairs_are_all_met() -> None:
    factors = {"a": [1, 2, 3], "b": [1, 2], "c": [1, 2, 3]}
    cases = pairwise(factors)
    assert len(cases) < len(full(factors))
    assert {(a, b) for a, b, _ in cases} == {(a, b) for a in (1, 2, 3) for b in (1, 2)}
    assert len({(a, c) for a, _, c in cases}) == 9
