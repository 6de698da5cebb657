"""What a step may hold: the scheduler's rules, one test each."""

from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import ConfigError
from language_service.block_tables import KvBlocks
from language_service.prompt import ImageSegment, TextSegment
from language_service.scheduler import PRIORITY_SECONDS, EngineLimits, Scheduler, StepPlan
from language_service.sequence import Sequence
from tests.language_service.kv_simulation import picture, sequence_of

_first_ids = count(step=1000)


def sequence(num_prompt_tokens: int, max_tokens: int = 4, name: str = "") -> Sequence:
    """A prompt that has nothing in common with any other."""
    first = next(_first_ids)
    ids = tuple(range(first, first + num_prompt_tokens))
    return sequence_of(TextSegment(ids), max_tokens=max_tokens, name=name)


def waiting_for_a_picture(num_text_tokens: int) -> Sequence:
    text = sequence(num_text_tokens).prompt.segments
    return sequence_of(*text, ImageSegment(0), TextSegment((1, 2)))


def scheduler(
    *sequences: Sequence, budget: int = 16, seats: int = 8, num_kv_tokens: int = 1024
) -> Scheduler:
    chosen = Scheduler(EngineLimits(512, budget, seats), KvBlocks(num_kv_tokens))
    for each in sequences:
        chosen.add(each)
    return chosen


def advance(chosen: Scheduler, plan: StepPlan) -> None:
    """Pretend that the model ran."""
    for chunk in plan.chunks:
        is_last = chunk.is_last
        chosen.advance(chunk)
        if is_last:
            chunk.sequence.output_ids.append(0)


def step(chosen: Scheduler) -> list[tuple[Sequence, int]]:
    """Plan and pretend; what was computed."""
    plan = chosen.schedule()
    done = work(plan)
    advance(chosen, plan)
    return done


def work(plan: StepPlan) -> list[tuple[Sequence, int]]:
    return [(chunk.sequence, chunk.num_tokens) for chunk in plan.chunks]


def test_nothing_to_do() -> None:
    assert work(scheduler().schedule()) == []


def test_a_prompt_that_fits_is_one_chunk() -> None:
    a = sequence(10)
    plan = scheduler(a).schedule()
    assert work(plan) == [(a, 10)]
    assert plan.admitted == (a,)
    assert plan.chunks[0].is_last


def test_a_long_prompt_is_cut_to_the_budget() -> None:
    a = sequence(40)
    chosen = scheduler(a, budget=16)
    sizes = []
    for _ in range(4):
        plan = chosen.schedule()
        sizes.append((plan.chunks[0].num_tokens, plan.chunks[0].is_last))
        advance(chosen, plan)
    assert sizes == [(16, False), (16, False), (8, True), (1, True)]


def test_short_prompts_share_a_step() -> None:
    a, b, c = sequence(5), sequence(6), sequence(7)
    assert work(scheduler(a, b, c, budget=16).schedule()) == [(a, 5), (b, 6), (c, 5)]


def test_answers_go_before_prompts() -> None:
    a, b = sequence(5), sequence(40)
    chosen = scheduler(a)
    step(chosen)
    chosen.add(b)
    assert work(chosen.schedule()) == [(a, 1), (b, 15)]


def test_a_prompt_under_way_goes_before_a_new_one() -> None:
    a, b = sequence(20), sequence(20)
    chosen = scheduler(a, b)
    step(chosen)
    assert work(chosen.schedule()) == [(a, 4), (b, 12)]


def test_answers_keep_the_order_of_admission() -> None:
    a, b, c = sequence(30), sequence(2), sequence(2)
    chosen = scheduler(b, a)
    step(chosen)
    chosen.add(c)
    step(chosen)
    assert work(chosen.schedule()) == [(b, 1), (a, 1), (c, 2)]


def test_nobody_is_admitted_without_budget_left() -> None:
    a, b = sequence(16), sequence(4)
    chosen = scheduler(a, b, budget=16)
    assert chosen.schedule().admitted == (a,)
    assert chosen.num_running == 1


def test_nobody_is_admitted_without_a_seat() -> None:
    a, b, c = sequence(2), sequence(2), sequence(2)
    assert scheduler(a, b, c, seats=2).schedule().admitted == (a, b)


def test_room_is_given_for_what_is_known_and_a_block_for_everyone() -> None:
    a, b = sequence(20, max_tokens=60), sequence(33, max_tokens=60)
    assert scheduler(a, b, budget=64, num_kv_tokens=80).schedule().admitted == (a,)
    a, b = sequence(20, max_tokens=60), sequence(33, max_tokens=60)
    assert scheduler(a, b, budget=64, num_kv_tokens=96).schedule().admitted == (a, b)


def test_a_small_request_does_not_overtake_one_that_waits_for_room() -> None:
    a, large, small = sequence(20), sequence(100), sequence(2)
    chosen = scheduler(a, large, small, budget=32, num_kv_tokens=112)
    assert chosen.schedule().admitted == (a,)
    chosen.remove(a)
    assert chosen.schedule().admitted == (large,)


def test_removing_frees_room_and_seat() -> None:
    a, b, c = sequence(12), sequence(12), sequence(12)
    chosen = scheduler(a, b, c, seats=1, num_kv_tokens=16)
    chosen.schedule()
    chosen.remove(b)
    chosen.remove(a)
    assert chosen.schedule().admitted == (c,)


@pytest.mark.parametrize(("budget", "seats"), [(4, 5), (4, 0)])
def test_a_budget_below_the_seats_is_refused(budget: int, seats: int) -> None:
    with pytest.raises(ConfigError, match="max_batch_tokens"):
        EngineLimits(512, budget, seats)


def test_the_newest_gives_way_when_room_runs_out() -> None:
    a, b = sequence(16, max_tokens=70), sequence(16, max_tokens=70)
    chosen = scheduler(a, b, budget=64, num_kv_tokens=96)
    done = []
    while not chosen.num_preemptions:
        done = step(chosen)
    assert done == [(a, 1)]
    assert chosen.num_running == 1
    assert (b.num_computed_tokens, len(b.output_ids) > 1) == (0, True)


def test_one_that_gave_way_goes_on_where_it_was() -> None:
    a, b = sequence(16, max_tokens=70), sequence(16, max_tokens=70)
    chosen = scheduler(a, b, budget=64, num_kv_tokens=96)
    while not chosen.num_preemptions:
        step(chosen)
    outputs = list(b.output_ids)
    chosen.remove(a)
    plan = chosen.schedule()
    assert plan.admitted == ()
    assert plan.chunks[0].is_last
    assert b.num_computed_tokens + plan.chunks[0].num_tokens == 16 + len(outputs)
    # What it had computed is still known, and is not computed again.
    assert b.num_computed_tokens > 0
    assert b.output_ids == outputs


def test_who_waits_for_pictures_gives_way_first_even_if_older() -> None:
    waiting, a = waiting_for_a_picture(20), sequence(16, max_tokens=70)
    chosen = scheduler(waiting, a, budget=64, num_kv_tokens=96)
    step(chosen)
    assert chosen.num_running == 2
    while not chosen.num_preemptions:
        step(chosen)
    assert (waiting.num_computed_tokens, a.num_computed_tokens > 16) == (0, True)


def test_a_prompt_is_computed_up_to_its_missing_picture() -> None:
    waiting = waiting_for_a_picture(20)
    chosen = scheduler(waiting, budget=64)
    plan = chosen.schedule()
    assert [(chunk.num_tokens, chunk.is_last) for chunk in plan.chunks] == [(20, False)]
    advance(chosen, plan)
    assert chosen.schedule().chunks == ()
    waiting.supply(0, picture(1, 5))
    (chunk,) = chosen.schedule().chunks
    assert (chunk.num_tokens, chunk.is_last) == (7, True)


def test_who_waits_for_pictures_gets_what_others_leave() -> None:
    waiting, a = waiting_for_a_picture(20), sequence(12)
    chosen = scheduler(waiting, a, budget=16)
    assert step(chosen) == [(a, 12), (waiting, 4)]
    assert step(chosen) == [(a, 1), (waiting, 15)]


def test_who_waits_for_pictures_gives_its_seat_up() -> None:
    waiting, a = waiting_for_a_picture(20), sequence(12)
    chosen = scheduler(waiting, budget=64, seats=1)
    assert step(chosen) == [(waiting, 20)]
    chosen.add(a)
    assert step(chosen) == [(a, 12)]


def test_nothing_is_begun_for_pictures_while_a_complete_request_waits() -> None:
    running, large = sequence(60, max_tokens=4), sequence(60)
    waiting = waiting_for_a_picture(4)
    chosen = scheduler(running, large, waiting, budget=128, num_kv_tokens=112)
    assert chosen.schedule().admitted == (running,)


def test_priority_is_a_head_start_and_no_more() -> None:
    early, urgent, late = sequence(12), sequence(12), sequence(12)
    chosen = scheduler(budget=12, seats=1)
    chosen.add(early, arrival=0.0)
    chosen.add(urgent, arrival=PRIORITY_SECONDS - 1, priority=1)
    chosen.add(late, arrival=PRIORITY_SECONDS + 1, priority=1)
    order = []
    for _ in range(3):
        ((next_up, _),) = work(chosen.schedule())
        order.append(next_up)
        chosen.remove(next_up)
    assert order == [urgent, early, late]


def test_a_known_beginning_is_copied_and_not_computed() -> None:
    prompt = sequence(40).prompt.segments
    first, again = sequence_of(*prompt), sequence_of(*prompt)
    chosen = scheduler(first, budget=64)
    step(chosen)
    chosen.add(again)
    plan = chosen.schedule()
    assert work(plan) == [(first, 1), (again, 8)]
    assert again.num_cached_tokens == 32
    assert sum(copy.num_tokens for copy in plan.copies) == 32


def test_the_last_token_of_a_prompt_is_always_computed() -> None:
    prompt = sequence(32).prompt.segments
    first, again = sequence_of(*prompt, max_tokens=1), sequence_of(*prompt)
    chosen = scheduler(first, budget=64)
    step(chosen)
    chosen.remove(first)
    chosen.add(again)
    assert step(chosen) == [(again, 1)]


def test_what_others_have_computed_meanwhile_is_taken_over() -> None:
    segments = [*sequence(20).prompt.segments, picture(1, 40), TextSegment((1, 2))]
    waiting = sequence_of(segments[0], ImageSegment(0), segments[2])
    complete = sequence_of(*segments, max_tokens=50)
    chosen = scheduler(waiting, complete, budget=128)
    step(chosen)
    step(chosen)
    waiting.supply(0, picture(1, 40))
    assert step(chosen) == [(complete, 1), (waiting, 62 - 48)]


@given(
    sizes=st.lists(st.tuples(st.integers(1, 60), st.integers(1, 12)), max_size=12),
    budget=st.integers(3, 40),
    seats=st.integers(1, 3),
    num_kv_tokens=st.integers(80, 200),
)
def test_any_load_is_finished_in_order_within_all_bounds(
    sizes: list[tuple[int, int]], budget: int, seats: int, num_kv_tokens: int
) -> None:
    blocks = KvBlocks(num_kv_tokens)
    chosen = Scheduler(EngineLimits(512, budget, seats), blocks)
    waiting = [sequence(*size) for size in sizes]
    for each in waiting:
        chosen.add(each)
    admitted: list[Sequence] = []
    while (plan := chosen.schedule()).chunks:
        admitted += plan.admitted
        decoding = [chunk.sequence for chunk in plan.chunks if chunk.sequence.is_decoding]
        assert [chunk.sequence for chunk in plan.chunks][: len(decoding)] == decoding
        assert decoding == sorted(decoding, key=waiting.index)
        assert sum(chunk.num_tokens for chunk in plan.chunks) <= budget
        assert len(plan.chunks) <= chosen.num_running <= seats
        advance(chosen, plan)
        for chunk in plan.chunks:
            if is_finished(chunk.sequence):
                chosen.remove(chunk.sequence)
    assert admitted == waiting
    assert all(is_finished(each) for each in waiting)
    assert blocks.num_free_tokens == blocks.num_tokens


def is_finished(each: Sequence) -> bool:
    return len(each.output_ids) == each.sampling.max_tokens
