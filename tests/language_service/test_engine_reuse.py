"""What earlier requests computed serves later ones, and only where it is the same."""

import gc
import weakref

import pytest
import torch
from transformers import PreTrainedModel

from common.errors import DeadlineExpiredError, DvdError
from language_service.block_tables import PrefixHold
from language_service.engine import LanguageEngine
from language_service.generation import EngineEvent, GenerationRequest
from language_service.prompt import (
    HeldSegment,
    ImageSegment,
    Prompt,
    TextSegment,
    VisualSegment,
    segment_length,
)
from language_service.scheduler import EngineLimits
from language_service.token_keys import TokenKeys, picture_identity
from tests.language_service.harness import (
    HIDDEN_SIZE,
    LIMITS,
    Answer,
    build_engine,
    generate,
    greedy,
    run,
    submit,
    text_prompt,
)

NUM_VISUAL = 40
HEAD, QUESTION, OTHER_QUESTION = (
    TextSegment((5, 6, 7)), TextSegment((8, 9)), TextSegment((11, 12, 13))
)  # fmt: skip


def picture(name: bytes, tile_tokens: tuple[int, ...] = (NUM_VISUAL,)) -> VisualSegment:
    """A picture whose values follow from its name and its resolution."""
    identity = picture_identity(name, tile_tokens)
    generator = torch.Generator().manual_seed(int.from_bytes(identity[:7], "little"))
    rows = torch.randn(sum(tile_tokens), HIDDEN_SIZE, generator=generator) * 0.2
    return VisualSegment(rows, identity)


CAT = picture(b"cat")
SEEN = Prompt((HEAD, CAT, QUESTION))


def ask(engine: LanguageEngine, prompt: Prompt, max_tokens: int = 6) -> Answer:
    answer = submit(engine, "asked", prompt, greedy(max_tokens))
    run(engine)
    return answer


def num_hits(engine: LanguageEngine, prompt: Prompt) -> int:
    return ask(engine, prompt, 1).finished.num_cached_tokens


@pytest.fixture
def engine(model: PreTrainedModel) -> LanguageEngine:
    """An engine that has answered one question about the cat."""
    made = build_engine(model)
    ask(made, SEEN)
    return made


def held(segment: VisualSegment) -> HeldSegment:
    assert segment.identity is not None
    return HeldSegment(segment.identity, segment_length(segment))


def hold_cat(engine: LanguageEngine) -> PrefixHold | None:
    keys = TokenKeys()
    keys.add_text(HEAD.token_ids)
    keys.add_picture(CAT.identity, NUM_VISUAL)
    return engine.hold_pictures(keys, (keys.num_tokens,), keys.num_tokens)


def ask_held(
    engine: LanguageEngine, question: TextSegment = OTHER_QUESTION, max_tokens: int = 6
) -> Answer:
    """Ask about the cat without showing it."""
    answer = Answer()
    prompt = Prompt((HEAD, held(CAT), question))
    engine.submit(
        GenerationRequest(
            "held", prompt, greedy(max_tokens), answer.events.append, hold_cat(engine)
        )
    )
    return answer


def test_the_same_request_again_computes_one_token(
    engine: LanguageEngine, plain_model: PreTrainedModel
) -> None:
    again = ask(engine, SEEN)
    assert again.finished.num_cached_tokens == SEEN.num_tokens - 1
    assert again.token_ids == generate(plain_model, SEEN, 6)


def test_the_same_picture_serves_another_question(
    engine: LanguageEngine, plain_model: PreTrainedModel
) -> None:
    prompt = Prompt((HEAD, CAT, OTHER_QUESTION))
    again = ask(engine, prompt)
    assert again.finished.num_cached_tokens == 3 + NUM_VISUAL
    assert again.token_ids == generate(plain_model, prompt, 6)


def test_the_next_turn_reuses_prompt_picture_and_answer(
    model: PreTrainedModel, plain_model: PreTrainedModel
) -> None:
    engine = build_engine(model)
    first = ask(engine, SEEN, 30)
    turn = Prompt((*SEEN.segments, TextSegment((*first.token_ids, 40, 41, 42))))
    second = ask(engine, turn, 8)
    # All but the answer's last token, whose keys were never needed.
    assert second.finished.num_cached_tokens == SEEN.num_tokens + 29
    assert second.token_ids == generate(plain_model, turn, 8)


@pytest.mark.parametrize(
    "other",
    [
        picture(b"dog"),
        picture(b"cat", (16, 24)),
        picture(b"cat", (24, 16)),
        VisualSegment(CAT.embeddings),
    ],
    ids=["another picture", "another mask", "yet another mask", "no name"],
)
def test_another_picture_or_mask_never_hits(
    engine: LanguageEngine, plain_model: PreTrainedModel, other: VisualSegment
) -> None:
    prompt = Prompt((HEAD, other, QUESTION))
    again = ask(engine, prompt)
    assert again.finished.num_cached_tokens == 3
    assert again.token_ids == generate(plain_model, prompt, 6)


def test_the_same_picture_elsewhere_does_not_hit(engine: LanguageEngine) -> None:
    assert num_hits(engine, Prompt((TextSegment((6, 7)), CAT, QUESTION))) == 0


def test_nothing_is_kept_where_it_is_turned_off(model: PreTrainedModel) -> None:
    engine = build_engine(model, keeps_prefixes=False)
    assert [num_hits(engine, SEEN), num_hits(engine, SEEN)] == [0, 0]
    assert engine.kept_kv_tokens == 0


def test_what_is_not_finite_is_not_kept(model: PreTrainedModel) -> None:
    engine = build_engine(model, EngineLimits(256, 16, 8))
    rows = CAT.embeddings.clone()
    rows[20] = float("nan")
    prompt = Prompt((HEAD, VisualSegment(rows, CAT.identity), QUESTION))
    assert isinstance(ask(engine, prompt).error, DvdError)
    assert engine.kept_kv_tokens == 0
    assert num_hits(engine, SEEN) == 0


def test_hits_are_counted(engine: LanguageEngine) -> None:
    before = engine.stats.num_hit_tokens, engine.stats.num_query_tokens
    computed = engine.stats.num_computed_tokens
    num_answered = len(ask(engine, SEEN).token_ids)
    # All but one token of the prompt was held, and the answer's last token is never run.
    assert engine.stats.num_computed_tokens - computed == num_answered
    after = engine.stats.num_hit_tokens, engine.stats.num_query_tokens
    assert after[0] - before[0] == SEEN.num_tokens - 1
    assert after[1] - before[1] == SEEN.num_tokens


def test_a_held_picture_need_not_be_sent(
    engine: LanguageEngine, plain_model: PreTrainedModel
) -> None:
    answer = ask_held(engine)
    run(engine)
    assert answer.token_ids == generate(plain_model, Prompt((HEAD, CAT, OTHER_QUESTION)), 6)


def test_a_held_picture_outlives_whoever_needs_room(
    model: PreTrainedModel, plain_model: PreTrainedModel
) -> None:
    engine = build_engine(model, EngineLimits(128, 64, 8), num_kv_tokens=256)
    ask(engine, SEEN)
    answer = ask_held(engine)
    others = [submit(engine, str(i), text_prompt(100, i * 20), greedy(20)) for i in range(5)]
    for _ in range(200):
        engine.step()
    run(engine)
    assert answer.token_ids == generate(plain_model, Prompt((HEAD, CAT, OTHER_QUESTION)), 6)
    assert all(len(other.token_ids) == 20 for other in others)


def test_who_gave_way_finds_its_held_picture_again(
    model: PreTrainedModel, plain_model: PreTrainedModel
) -> None:
    engine = build_engine(model, EngineLimits(112, 64, 8), num_kv_tokens=192)
    ask(engine, SEEN)
    older = submit(engine, "older", text_prompt(40, 100), greedy(60))
    answer = ask_held(engine, max_tokens=40)
    run(engine)
    assert engine.num_preemptions > 0
    assert answer.token_ids == generate(plain_model, Prompt((HEAD, CAT, OTHER_QUESTION)), 40)
    assert len(older.token_ids) == 60


def test_no_more_is_held_than_leaves_room_for_the_largest_request(model: PreTrainedModel) -> None:
    engine = build_engine(model, EngineLimits(240, 64, 8), num_kv_tokens=256)
    ask(engine, SEEN)
    assert hold_cat(engine) is None
    assert engine.used_kv_tokens == 0


def test_a_hold_that_was_not_used_is_let_go(engine: LanguageEngine) -> None:
    hold = hold_cat(engine)
    assert hold is not None
    assert engine.used_kv_tokens == 48
    engine.let_go(hold)
    engine.let_go(hold)
    run(engine)


def test_cancelling_lets_go_of_what_is_held(engine: LanguageEngine) -> None:
    ask_held(engine)
    engine.cancel("held")
    run(engine)


WAITING = Prompt((TextSegment(tuple(range(30))), ImageSegment(0), QUESTION, ImageSegment(1), HEAD))


def test_a_prompt_is_computed_as_its_pictures_come(
    model: PreTrainedModel, plain_model: PreTrainedModel
) -> None:
    engine, dog = build_engine(model), picture(b"dog")
    answer = submit(engine, "waits", WAITING, greedy(6))
    assert [engine.step(), engine.step()] == [True, False]
    assert engine.used_kv_tokens > 0
    # The second comes first: it can only be kept for later.
    engine.supply("waits", 1, dog)
    assert not engine.step()
    engine.supply("waits", 0, CAT)
    run(engine)
    complete = WAITING.with_image(0, CAT).with_image(1, dog)
    assert answer.token_ids == generate(plain_model, complete, 6)


def test_who_waits_for_pictures_holds_nobody_up(
    model: PreTrainedModel, plain_model: PreTrainedModel
) -> None:
    engine = build_engine(model, EngineLimits(128, 16, max_sequences=1), num_kv_tokens=128)
    waiting = submit(engine, "waits", WAITING, greedy(6))
    engine.step()
    other = submit(engine, "other", SEEN, greedy(6))
    for _ in range(20):
        engine.step()
    assert other.token_ids == generate(plain_model, SEEN, 6)
    assert waiting.events == []
    for index in (0, 1):
        engine.supply("waits", index, CAT)
    run(engine)
    complete = WAITING.with_image(0, CAT).with_image(1, CAT)
    assert waiting.token_ids == generate(plain_model, complete, 6)


def test_pictures_that_never_came_leave_nothing_but_their_prefix(engine: LanguageEngine) -> None:
    submit(engine, "waits", WAITING, greedy(6))
    engine.supply("waits", 1, picture(b"dog"))
    while engine.step():
        pass
    engine.cancel("waits")
    run(engine)
    complete = WAITING.with_image(0, picture(b"bird")).with_image(1, picture(b"dog"))
    assert num_hits(engine, complete) == 30


def test_a_picture_for_a_request_that_is_gone_is_dropped(engine: LanguageEngine) -> None:
    engine.supply("gone", 0, CAT)
    assert not engine.step()


def test_an_answered_request_is_not_kept_until_its_deadline(model: PreTrainedModel) -> None:
    engine = build_engine(model)
    answer = Answer()

    def on_event(event: EngineEvent) -> None:
        answer.events.append(event)

    kept = weakref.ref(on_event)
    engine.submit(GenerationRequest("early", SEEN, greedy(6), on_event, deadline=1e9))
    del on_event
    run(engine)
    gc.collect()
    assert len(answer.token_ids) == 6
    assert kept() is None


def test_a_deadline_is_not_that_of_a_later_request_of_the_same_name(
    model: PreTrainedModel,
) -> None:
    engine = build_engine(model)
    first, second = Answer(), Answer()
    engine.submit(GenerationRequest("twice", SEEN, greedy(1), first.events.append, deadline=20.0))
    run(engine)
    engine.submit(GenerationRequest("twice", SEEN, greedy(40), second.events.append))
    run(engine)
    assert len(first.token_ids) == 1
    assert len(second.token_ids) == 40


def test_a_request_ends_at_its_deadline(model: PreTrainedModel) -> None:
    engine = build_engine(model)
    answer = Answer()
    engine.submit(
        GenerationRequest("late", WAITING, greedy(6), answer.events.append, deadline=20.0)
    )
    on_time = submit(engine, "on time", SEEN, greedy(6))
    run(engine)
    for _ in range(20):
        engine.step()
    assert isinstance(answer.error, DeadlineExpiredError)
    assert len(on_time.token_ids) == 6
    run(engine)


def test_priority_goes_first(model: PreTrainedModel) -> None:
    engine = build_engine(model, EngineLimits(256, 16, max_sequences=1))
    order: list[str] = []
    for name, priority in (("first", 0), ("urgent", 1)):
        engine.submit(
            GenerationRequest(
                name, SEEN, greedy(1), lambda _, name=name: order.append(name), priority=priority
            )
        )
    run(engine)
    assert order == ["urgent", "urgent", "first", "first"]


def test_load_counts_a_prompt_that_is_not_all_here(model: PreTrainedModel) -> None:
    engine = build_engine(model, LIMITS)
    submit(engine, "waits", WAITING, greedy(6))
    assert (engine.running_requests, engine.waiting_requests) == (0, 1)
    assert engine.outstanding_tokens == 30 + 2 + 3 + 6
    engine.cancel("waits")
    engine.step()
    run(engine)
