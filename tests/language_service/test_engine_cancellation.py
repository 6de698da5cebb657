"""A cancelled request ends before the next step, once, and frees its room at once."""

import pytest
from transformers import PreTrainedModel

from common.errors import CancelledRequestError
from language_service.engine import LanguageEngine
from language_service.generation import EngineEvent, GenerationRequest
from language_service.scheduler import EngineLimits
from tests.language_service.harness import (
    Answer,
    build_engine,
    greedy,
    run,
    submit,
    text_prompt,
)

LIMITS = EngineLimits(max_context_tokens=256, max_batch_tokens=16, max_sequences=4)


@pytest.fixture
def engine(model: PreTrainedModel) -> LanguageEngine:
    return build_engine(model, LIMITS)


def assert_gone(engine: LanguageEngine, answer: Answer, num_tokens: int) -> None:
    """One more step finds nothing to do but the cancellation."""
    assert not engine.step()
    assert isinstance(answer.error, CancelledRequestError)
    assert len(answer.token_ids) == num_tokens
    run(engine)


def test_before_the_first_step(engine: LanguageEngine) -> None:
    answer = submit(engine, "a", text_prompt(40), greedy(8))
    engine.cancel("a")
    assert_gone(engine, answer, num_tokens=0)


def test_in_the_middle_of_the_prompt(engine: LanguageEngine) -> None:
    answer = submit(engine, "a", text_prompt(40), greedy(8))
    engine.step()
    assert engine.used_kv_tokens == 64
    engine.cancel("a")
    assert_gone(engine, answer, num_tokens=0)


def test_in_the_middle_of_the_answer(engine: LanguageEngine) -> None:
    answer = submit(engine, "a", text_prompt(10), greedy(8))
    for _ in range(3):
        engine.step()
    engine.cancel("a")
    assert_gone(engine, answer, num_tokens=3)


def test_while_waiting_for_room(model: PreTrainedModel) -> None:
    engine = build_engine(model, LIMITS, num_kv_tokens=32)
    first = submit(engine, "first", text_prompt(20), greedy(8))
    waiting = submit(engine, "waiting", text_prompt(20), greedy(8))
    last = submit(engine, "last", text_prompt(20), greedy(8))
    engine.step()
    engine.cancel("waiting")
    run(engine)
    assert isinstance(waiting.error, CancelledRequestError)
    assert first.token_ids == last.token_ids


def test_from_within_its_own_event(engine: LanguageEngine) -> None:
    answer = Answer()

    def take_one(event: EngineEvent) -> None:
        answer.events.append(event)
        engine.cancel("a")

    engine.submit(GenerationRequest("a", text_prompt(10), greedy(8), take_one))
    engine.step()
    assert_gone(engine, answer, num_tokens=1)


def test_neighbours_go_on(engine: LanguageEngine) -> None:
    alone = submit(engine, "alone", text_prompt(10), greedy(8))
    run(engine)
    answers = [submit(engine, str(i), text_prompt(10), greedy(8)) for i in range(4)]
    for _ in range(5):
        engine.step()
    engine.cancel("2")
    run(engine)
    others = [answer.token_ids for i, answer in enumerate(answers) if i != 2]
    assert others == [alone.token_ids] * 3


def test_twice_or_too_late_is_harmless(engine: LanguageEngine) -> None:
    answer = submit(engine, "a", text_prompt(10), greedy(2))
    run(engine)
    engine.cancel("a")
    again = submit(engine, "a", text_prompt(10), greedy(2))
    engine.cancel("a")
    engine.cancel("a")
    assert_gone(engine, again, num_tokens=0)
    assert answer.finished.num_completion_tokens == 2


def test_a_cancellation_does_not_hit_the_next_request_of_the_same_id(
    engine: LanguageEngine,
) -> None:
    def cancel_the_other(event: EngineEvent) -> None:
        del event
        engine.cancel("a")

    engine.submit(GenerationRequest("b", text_prompt(5), greedy(1), cancel_the_other))
    first = submit(engine, "a", text_prompt(5), greedy(1))
    engine.step()
    renewed = submit(engine, "a", text_prompt(5), greedy(2))
    run(engine)
    assert first.finished.num_completion_tokens == 1
    assert renewed.finished.num_completion_tokens == 2
