"""Results of runs are put between the marks of the document, and nowhere else."""

from pathlib import Path

import pytest

from benchmarks.ablation_arms import ARMS
from benchmarks.ablation_report import AblationReport, Cell, Window
from benchmarks.against_vllm import DVD, VLLM, goals, rows
from benchmarks.performance_tables import (
    DOCUMENT,
    README,
    filled,
    losses,
    readme_with_result,
    with_result,
)
from benchmarks.picture_load import LoadFigures
from common.result import Result

ROOT = Path(__file__).parents[2]


def shown(requests: float) -> LoadFigures:
    return LoadFigures(1.0, requests, requests, 0, (0.5,), (0.1,), (), 0.0, (0.1, 0.2))


def document_of(result: Result) -> dict[str, object]:
    return {
        "machine": "A machine, 2 cores",
        "rows": result.rows,
        "goals": [
            {"name": each.name, "value": each.value, "target": each.target, "better": each.better}
            for each in result.goals
        ],
    }


@pytest.fixture
def ablation() -> Result:
    windows = [Window(Cell(5, 32), arm, shown(9.0 - len(arm.name) / 4)) for arm in ARMS]
    report = AblationReport(windows, {(Cell(5, 32), ARMS[2]): 0.05})
    return Result(report.rows(), report.goals(32))


def test_only_what_is_between_the_marks_changes() -> None:
    document = "a\n<!-- x -->\nold\n<!-- end of x -->\nb\n"
    assert filled(document, "x", r"n\1ew") == "a\n<!-- x -->\nn\\1ew\n<!-- end of x -->\nb\n"
    with pytest.raises(ValueError, match="no marks"):
        filled("a", "x", "new")


def test_the_document_has_room_for_both_results(ablation: Result) -> None:
    document = (ROOT / DOCUMENT).read_text(encoding="utf-8")
    figures = {(5, VLLM): [shown(2.0)], (5, DVD): [shown(3.0)]}
    document = with_result(document, document_of(ablation))
    document = with_result(document, document_of(Result(rows(figures), goals(figures))))
    assert document.count("A machine, 2 cores.") == 2
    assert "| 5 | 32 | DvD + ViR | 6.75 | 6.75-6.75 |" in document
    assert "| 5 | DvD | 3.00 | 3.00-3.00 | 1.50 |" in document


def test_the_readme_has_room_for_the_ablation_in_short(ablation: Result) -> None:
    readme = (ROOT / README).read_text(encoding="utf-8")
    shown_there = readme_with_result(readme, document_of(ablation))
    rates = {row["arm"]: row["requests/s"] for row in ablation.rows}
    dvd = rates["DvD"] / rates["coupled, 1 x 2"]
    assert f"| 5 tiles, 32 tokens | {dvd:.2f} |" in shown_there
    assert "Measured on A machine, 2 cores." in shown_there
    vllm = document_of(Result(rows({(5, VLLM): [shown(2.0)], (5, DVD): [shown(3.0)]})))
    assert readme_with_result(readme, vllm) == readme


def test_losses_are_told_beside_the_same_resolutions(ablation: Result) -> None:
    assert losses(ablation.rows) == "In this run DvD was ahead in every cell."
    for row in ablation.rows:
        if row["arm"] == "DvD + ViR":
            row["vs coupled, same resolutions"] = 0.5
    assert losses(ablation.rows).startswith("- DvD + ViR, 5 tiles, 32 tokens: 0.")
    assert losses(ablation.rows).count("\n") == 0
