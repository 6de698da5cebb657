"""What a window of a load shows, worked out by hand; and that loads have no two equal pictures."""

import pytest

from benchmarks.picture_load import Window, Workload, conversations_of, figures, percentile_ms
from deploy.bench.objectives import Objective
from tests.deploy.bench.timelines import answered, failed

WORKLOAD = Workload(
    picture_side=112, output_tokens=2, concurrency=2, seconds=1.0, max_warm_up_seconds=1.0
)


def test_an_answer_counts_by_the_part_of_its_tokens_that_came_within() -> None:
    exchanges = [answered(0.0, 1.0, 2.0, 3.0, 4.0), answered(0.0, 2.5, 3.5)]
    shown = figures(exchanges, Window(1.5, 3.25), output_tokens=4, objectives=())
    assert shown.num_requests == 2 / 4 + 1 / 4
    assert shown.requests_per_second == pytest.approx(0.75 / 1.75)


def test_times_belong_to_the_window_in_which_they_end() -> None:
    exchanges = [answered(0.0, 1.0, 2.0, 5.0), answered(3.0, 3.5, 9.0)]
    shown = figures(exchanges, Window(1.5, 5.0), output_tokens=3, objectives=())
    assert shown.ttft_seconds == (0.5,)
    assert shown.itl_seconds == (1.0, 3.0)


def test_a_message_of_several_tokens_is_as_many_equal_gaps() -> None:
    shown = figures([answered(0.0, 1.0, 3.0, tokens=4)], Window(1.0, 3.0), 8, ())
    assert shown.itl_seconds == (0.5,) * 4


def test_goodput_leaves_out_what_broke_an_objective() -> None:
    exchanges = [answered(0.0, 0.5, 1.0), answered(0.0, 0.9, 1.0)]
    shown = figures(exchanges, Window(0.0, 2.0), 2, (Objective("ttft", 600.0),))
    assert (shown.requests_per_second, shown.goodput_per_second) == (1.0, 0.5)


def test_failures_are_told_wherever_they_happen() -> None:
    exchanges = [failed(0.0, 0.1, "UNAVAILABLE"), answered(0.0, 5.0)]
    assert figures(exchanges, Window(4.0, 6.0), 1, ()).num_failed == 1


def test_there_is_no_percentile_of_nothing() -> None:
    assert percentile_ms((), 99) is None
    assert percentile_ms((0.001, 0.003), 50) == pytest.approx(2.0)


def test_all_pictures_of_a_load_and_of_its_neighbours_are_different() -> None:
    pictures = [
        turn.pictures[0].data
        for seed in ("1/0", "1/1")
        for conversation in conversations_of(WORKLOAD, 8, seed)
        for turn in conversation.turns
    ]
    assert len(set(pictures)) == 16


def test_equal_seeds_ask_the_same() -> None:
    assert conversations_of(WORKLOAD, 3, "1") == conversations_of(WORKLOAD, 3, "1")
