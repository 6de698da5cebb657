"""What a step may hold: the scheduler's rules, one test each."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import ConfigError
from common.types import SamplingParameters
from language_service.kv_runs import KvRuns
from language_service.prompt import Prompt, TextSegment
from language_service.scheduler import EngineLimits, Scheduler, StepPlan
from language_service.sequence import Sequence


def sequence(num_prompt_tokens: int, max_tokens: int = 4, name: str = "") -> Sequence:
    prompt = Prompt((TextSegment(tuple(range(num_prompt_tokens))),))
    return Sequence(name, prompt, SamplingParameters(max_tokens, 0.0, 0))


def scheduler(
    *sequences: Sequence, budget: int = 16, seats: int = 8, num_kv_tokens: int = 1024
) -> Scheduler:
    chosen = Scheduler(EngineLimits(512, budget, seats), KvRuns(num_kv_tokens))
    for each in sequences:
        chosen.add(each)
    return chosen


def advance(plan: StepPlan) -> None:
    """Pretend that the model ran."""
    for chunk in plan.chunks:
        is_last = chunk.is_last
        chunk.sequence.num_computed_tokens += chunk.num_tokens
        if is_last:
            chunk.sequence.output_ids.append(0)


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
        advance(plan)
    assert sizes == [(16, False), (16, False), (8, True), (1, True)]


def test_short_prompts_share_a_step() -> None:
    a, b, c = sequence(5), sequence(6), sequence(7)
    assert work(scheduler(a, b, c, budget=16).schedule()) == [(a, 5), (b, 6), (c, 5)]


def test_answers_go_before_prompts() -> None:
    a, b = sequence(5), sequence(40)
    chosen = scheduler(a)
    advance(chosen.schedule())
    chosen.add(b)
    assert work(chosen.schedule()) == [(a, 1), (b, 15)]


def test_a_prompt_under_way_goes_before_a_new_one() -> None:
    a, b = sequence(20), sequence(20)
    chosen = scheduler(a, b)
    advance(chosen.schedule())
    assert work(chosen.schedule()) == [(a, 4), (b, 12)]


def test_answers_keep_the_order_of_admission() -> None:
    a, b, c = sequence(30), sequence(2), sequence(2)
    chosen = scheduler(b, a)
    advance(chosen.schedule())
    chosen.add(c)
    advance(chosen.schedule())
    assert work(chosen.schedule()) == [(b, 1), (a, 1), (c, 2)]


def test_nobody_is_admitted_without_budget_left() -> None:
    a, b = sequence(16), sequence(4)
    chosen = scheduler(a, b, budget=16)
    assert chosen.schedule().admitted == (a,)
    assert (chosen.num_running, chosen.num_waiting) == (1, 1)


def test_nobody_is_admitted_without_a_seat() -> None:
    a, b, c = sequence(2), sequence(2), sequence(2)
    assert scheduler(a, b, c, seats=2).schedule().admitted == (a, b)


def test_room_is_reserved_for_the_longest_answer() -> None:
    a, b = sequence(10, max_tokens=22), sequence(10, max_tokens=23)
    assert scheduler(a, num_kv_tokens=32).schedule().admitted == (a,)
    assert scheduler(b, num_kv_tokens=32).schedule().admitted == ()


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


@given(
    sizes=st.lists(st.tuples(st.integers(1, 60), st.integers(1, 12)), max_size=12),
    budget=st.integers(3, 40),
    seats=st.integers(1, 3),
    num_kv_tokens=st.integers(80, 200),
)
def test_any_load_is_finished_in_order_within_all_bounds(
    sizes: list[tuple[int, int]], budget: int, seats: int, num_kv_tokens: int
) -> None:
    runs = KvRuns(num_kv_tokens)
    chosen = Scheduler(EngineLimits(512, budget, seats), runs)
    waiting = [sequence(*size) for size in sizes]
    for each in waiting:
        chosen.add(each)
    admitted: list[Sequence] = []
    while (plan := chosen.schedule()).chunks:
        admitted += plan.admitted
        decoding = [each for each in admitted if each.output_ids and not is_finished(each)]
        assert [chunk.sequence for chunk in plan.chunks][: len(decoding)] == decoding
        assert sum(chunk.num_tokens for chunk in plan.chunks) <= budget
        assert len(plan.chunks) <= chosen.num_running <= seats
        advance(plan)
        for chunk in plan.chunks:
            if is_finished(chunk.sequence):
                chosen.remove(chunk.sequence)
    assert admitted == waiting
    assert all(is_finished(each) for each in waiting)
    assert runs.num_free_tokens == runs.num_tokens


def is_finished(each: Sequence) -> bool:
    return len(each.output_ids) == each.sampling.max_tokens
