"""Rows and goals of the ablation from figures made by hand."""

import pytest

from benchmarks.ablation_arms import ARMS, Arm, Layout
from benchmarks.ablation_report import AblationReport, Cell, Window
from benchmarks.ablation_table import shares_of, table_of
from benchmarks.picture_load import LoadFigures

CELL = Cell(5, 32)
ONE, TWO, DVD = (Arm(layout, has_vir=False) for layout in Layout)


def window(arm: Arm, requests: float, itl_seconds: float = 0.1, cell: Cell = CELL) -> Window:
    """One window of a second."""
    cpu = (0.3,) if arm.layout is Layout.ALL_THREADS else (0.1, 0.2)
    shown = LoadFigures(1.0, requests, requests, 0, (0.5,), (itl_seconds,), (), 0.0, cpu)
    return Window(cell, arm, shown)


def every_arm(rates: dict[str, list[float]], itl_seconds: dict[str, float]) -> AblationReport:
    windows = [
        window(arm, rates[arm.name][index], itl_seconds.get(arm.name, 0.1))
        for index in range(2)
        for arm in ARMS
    ]
    return AblationReport(windows, {(CELL, DVD): 0.05})


@pytest.fixture
def report() -> AblationReport:
    rates = {
        "coupled, 1 x 2": [2.0, 3.0],
        "coupled, 2 x 1": [4.0, 2.0],
        "DvD": [6.0, 3.0],
        "coupled, 1 x 2 + ViR": [8.0, 8.0],
        "coupled, 2 x 1 + ViR": [1.0, 1.0],
        "DvD + ViR": [12.0, 4.0],
    }
    return every_arm(rates, {"coupled, 2 x 1": 0.4, "coupled, 1 x 2": 0.9, "DvD": 0.1})


def test_the_baseline_is_the_better_coupled_arm_of_the_cell(report: AblationReport) -> None:
    assert report.baseline(CELL, has_vir=False) == TWO
    assert report.baseline(CELL, has_vir=True) == Arm(Layout.ALL_THREADS, has_vir=True)


def test_ratios_are_taken_round_by_round(report: AblationReport) -> None:
    assert report.ratios(CELL, DVD, has_vir=False) == [1.5, 1.5]


def test_a_moment_in_which_the_machine_stood_still_does_not_decide_the_goal() -> None:
    rates = {arm.name: [1.0] * 3 for arm in ARMS} | {"coupled, 2 x 1": [2.0] * 3}
    ours, theirs = (0.1, 9.0, 0.1), (0.4, 0.4, 0.4)
    windows = [
        window(arm, rates[arm.name][index], {DVD: ours, TWO: theirs}.get(arm, theirs)[index])
        for index in range(3)
        for arm in ARMS
    ]
    assert AblationReport(windows, {}).goals(32)[0].value == pytest.approx(0.25)


def test_goals_compare_with_the_baseline(report: AblationReport) -> None:
    values = {goal.name: goal.value for goal in report.goals(32)}
    assert values == {
        "`benchmarks/dvd_ablation.py`: ITL p99 with pictures in flight, DvD vs coupled": 0.25,
        "requests/s, DvD vs coupled, 5 tiles": 1.5,
        "requests/s, DvD + ViR vs coupled, 5 tiles": 2.5,
        "requests/s, DvD + ViR vs coupled + ViR, 5 tiles": 1.0,
    }


def test_goals_that_were_not_measured_say_so() -> None:
    goals = AblationReport([], {}).goals(32)
    assert len(goals) == 4
    assert all(goal.value is None and goal.reason for goal in goals)


def test_a_row_has_cpu_time_shares_and_the_paper_beside_it(report: AblationReport) -> None:
    rows = {row["arm"]: row for row in report.rows()}
    decoupled = rows["DvD"]
    assert decoupled["requests/s"] == 4.5
    assert decoupled["spread"] == "3.00-6.00"
    # 0.2 and 0.4 seconds for 9 requests; a lone prefill takes more than all of the 44 ms.
    assert decoupled["cpu ms/request"] == "22 + 44"
    assert decoupled["ViT : prefill : decode"] == "33 : 67 : 0"
    assert decoupled["paper, unequal hardware (38B, 241B)"] == "1.87, 1.86"
    assert rows["coupled, 2 x 1"]["paper, unequal hardware (38B, 241B)"] is None
    assert rows["coupled, 2 x 1"]["vs coupled"] == 1.0


def test_the_table_has_a_line_for_every_row_and_a_heading_for_every_cell(
    report: AblationReport,
) -> None:
    rows = report.rows()
    assert table_of(rows).row_count == len(rows) + 1
    assert len(shares_of(rows)) == 1
