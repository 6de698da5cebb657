"""Every arm of the ablation answers a small load, in both directions, each process a real one."""

import argparse
from pathlib import Path

import pytest

from benchmarks.ablation_arms import ARMS
from benchmarks.ablation_report import AblationReport, Cell
from benchmarks.dvd_ablation import Ablation
from training.checkpoint_shape import TINY


@pytest.mark.slow
async def test_every_arm_answers(tmp_path: Path) -> None:
    arguments = argparse.Namespace(
        rounds=1,
        minutes=10.0,
        seeds=[1],
        seconds=1.0,
        concurrency=2,
        goodput=["ttft:60000"],
        full=False,
    )
    ablation = Ablation(arguments, TINY, (Cell(5, 4), Cell(5, 4)))
    await ablation.run(tmp_path)
    assert [window.arm for window in ablation.windows] == [*ARMS, *reversed(ARMS)]
    for window in ablation.windows:
        assert window.figures.num_requests > 0
        assert window.figures.num_failed == 0
        assert window.figures.compressed_share == (0.6 if window.arm.has_vir else 0.0)
        assert sum(window.figures.cpu_seconds) > 0
    goals = AblationReport(ablation.windows, ablation.prefill_seconds).goals(4)
    assert all(goal.value is not None for goal in goals)
