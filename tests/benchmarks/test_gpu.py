"""`benchmarks.gpu` where there is no GPU: what it counts, what it says, and that it runs."""

import pytest
import torch

from benchmarks.gpu import TARGETS, measure, reason_for_none
from benchmarks.gpu_models import (
    SHAPES,
    bytes_of_a_token,
    language_model,
    prefill_flops,
    vision_model,
    vit_flops,
)
from benchmarks.gpu_roles import ARMS
from common.result import Result

CPU = torch.device("cpu")


def test_without_a_card_every_goal_has_its_reason() -> None:
    result = Result()
    measure(None, ["8B"], 1, result)
    assert {goal.name: goal.target for goal in result.goals} == TARGETS
    assert all(goal.value is None and "no CUDA device" in str(goal.reason) for goal in result.goals)
    assert result.rows == []


def test_all_of_it_runs_on_a_cpu() -> None:
    result = Result()
    measure(CPU, ["tiny"], 1, result)
    assert all(row["value"] > 0 for row in result.rows)
    sizes = [row["size"] for row in result.rows]
    assert set(sizes) == {"device", "tiny", *(f"tiny, {arm.name}" for arm in ARMS)}
    assert {"only shows that the program runs" in str(goal.reason) for goal in result.goals} == {
        True
    }


def test_only_the_shape_of_the_goals_gives_them_values() -> None:
    assert reason_for_none(torch.device("cuda"), ["1B", "8B"]) is None
    assert reason_for_none(torch.device("cuda"), ["1B"]) == "the 8B shape was not measured"


def test_operations_are_those_of_the_published_models() -> None:
    layers = 36 * (4096 * 128 * 2 * 40 + 3 * 4096 * 12_288)
    assert prefill_flops(SHAPES["8B"], 1) == pytest.approx(2 * layers, rel=1e-3)
    assert vit_flops(SHAPES["8B"], 1) == pytest.approx(0.72e12, rel=0.05)


def test_a_token_reads_all_weights_but_the_table_and_the_keys_of_its_past() -> None:
    shape = SHAPES["tiny"]
    model = language_model(shape, torch.float32, CPU)
    weights = sum(each.numel() for each in model.parameters()) - 512 * 64 + 64
    keys = 2 * 2 * 2 * 16 * 10
    assert bytes_of_a_token(shape, model, 10) == 4 * (weights + keys)


def test_weights_are_random_and_of_one_type() -> None:
    shape = SHAPES["tiny"]
    for model in (
        language_model(shape, torch.bfloat16, CPU),
        vision_model(shape, torch.bfloat16, CPU),
    ):
        matrices = [each for each in model.parameters() if each.ndim == 2]
        assert {each.dtype for each in matrices} == {torch.bfloat16}
        assert all(each.float().std() > 0.01 for each in matrices)
