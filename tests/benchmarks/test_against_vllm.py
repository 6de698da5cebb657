"""Rows and goals of the comparison with vLLM, by hand-made figures; and a small run of ours."""

import argparse
from pathlib import Path

import pytest

from benchmarks.against_vllm import DVD, NOT_INSTALLED, VIR, VLLM, goals, measure, rows
from benchmarks.picture_load import LoadFigures


def shown(requests: float, itl_seconds: float) -> LoadFigures:
    """A window of a second."""
    return LoadFigures(1.0, requests, requests, 0, (0.5,), (itl_seconds,), (), 0.0)


FIGURES = {
    (5, VLLM): [shown(2.0, 0.2), shown(1.0, 0.2)],
    (5, DVD): [shown(3.0, 0.05), shown(2.0, 0.05)],
}


def test_goals_compare_round_by_round_and_by_all_gaps() -> None:
    assert [goal.value for goal in goals(FIGURES)] == [1.75, pytest.approx(0.25)]


def test_without_vllm_goals_say_why_and_our_rows_stay() -> None:
    ours = {key: windows for key, windows in FIGURES.items() if key[1] != VLLM}
    assert all(goal.value is None and goal.reason == NOT_INSTALLED for goal in goals(ours))
    assert [(row["server"], row["requests/s"], row["vs vLLM"]) for row in rows(ours)] == [
        (DVD, 2.5, None)
    ]


@pytest.mark.slow
async def test_ours_answer_over_http_where_there_is_no_vllm(tmp_path: Path) -> None:
    arguments = argparse.Namespace(
        environment=tmp_path, rounds=1, seeds=[1], seconds=1.0, concurrency=2, output=4
    )
    figures = await measure(arguments, tmp_path)
    assert {name for _, name in figures} == {DVD, VIR}
    assert all(each.num_requests > 0 and not each.num_failed for [each] in figures.values())
