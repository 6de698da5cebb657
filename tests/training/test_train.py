"""All stages at the smallest sizes, one after another, end in a checkpoint that is served."""

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from common.model_config import load_model_config
from common.model_files import list_tensors
from common.result import machine
from training.checkpoint_files import WEIGHTS_FILE
from training.consistency_parts import PARTS
from training.evaluate import evaluate
from training.pretrain import EYES, QUESTIONS, READING, RELATIONS
from training.served_model import ServedModel
from training.stage import STATE_FILE
from training.thresholds import ABSOLUTE, RELATIVE
from training.train import SHIPPED, SHIPPED_LOSSES, Training, TrainingPlan

CPU = torch.device("cpu")
STAGES = (
    "eyes",
    "reading",
    "questions",
    "relations",
    "consistency/projector",
    "consistency/uniform",
    "consistency/mixed",
    "consistency/served",
    "consistency/kept",
    "consistency/settled",
    "routing",
)
SMALLEST = TrainingPlan(
    eyes=replace(EYES, num_steps=3, batch_size=4),
    reading=replace(READING, num_steps=2, batch_size=4),
    questions=replace(QUESTIONS, num_steps=2, batch_size=4),
    relations=replace(RELATIONS, num_steps=2, batch_size=4),
    consistency=tuple(
        replace(part, recipe=replace(part.recipe, num_steps=1, batch_size=4)) for part in PARTS
    ),
    labelled_pictures=6,
    gate_steps=4,
    validation_samples=11,
)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("training")
    assert Training(directory, CPU, SMALLEST).run() == directory / SHIPPED
    return directory


def test_the_end_is_a_checkpoint_that_is_served(out: Path) -> None:
    config = load_model_config(out / SHIPPED)
    assert config.thresholds is not None
    assert config.thresholds.relative in RELATIVE
    assert config.thresholds.absolute in ABSOLUTE
    assert {entry.dtype for entry in list_tensors(out / SHIPPED).values()} == {"BF16"}
    assert len(evaluate(ServedModel(out / SHIPPED), 11, seed=0)) == 11
    size = sum(file.stat().st_size for file in (out / SHIPPED).iterdir())
    assert size < 20e6


def test_the_losses_of_all_stages_are_beside_it(out: Path) -> None:
    document = json.loads((out / SHIPPED / SHIPPED_LOSSES).read_text())
    losses = document.pop("losses")
    assert document == {
        "machine": machine(),
        "num_threads": torch.get_num_threads(),
        "device": "cpu",
    }
    lengths = {name: len(each) for name, each in losses.items()}
    parts = {"projector": 1, "uniform": 1, "mixed": 1, "served": 1, "kept": 1, "settled": 1}
    pretrained = {"eyes": 3, "reading": 2, "questions": 2, "relations": 2}
    assert lengths == {**pretrained, **parts, "routing": 4}


def written(out: Path) -> dict[str, int]:
    """When every file of the stages was last written."""
    files = [file for stage in STAGES for file in (out / stage).iterdir()]
    return {str(file): file.stat().st_mtime_ns for file in files}


def test_a_second_run_trains_nothing_again(out: Path) -> None:
    before = written(out)
    shipped = {file.name: file.read_bytes() for file in (out / SHIPPED).iterdir()}
    Training(out, CPU, SMALLEST).run()
    assert written(out) == before
    assert {file.name: file.read_bytes() for file in (out / SHIPPED).iterdir()} == shipped


# What a stage does not train.
UNTRAINED = {
    "eyes": ("language_model.", "mlp1.", "mlp2.", "gating."),
    "reading": ("vision_model.", "mlp2.", "gating."),
    "questions": ("vision_model.", "mlp2.", "gating."),
    "relations": ("vision_model.", "mlp2.", "gating."),
    "consistency/projector": ("vision_model.", "language_model.", "mlp1.", "gating."),
    "consistency/uniform": ("gating.", "pooling_before_gating."),
    "consistency/mixed": ("gating.", "pooling_before_gating."),
    "consistency/served": ("gating.", "pooling_before_gating."),
    "consistency/kept": ("gating.", "pooling_before_gating."),
    "consistency/settled": ("gating.", "pooling_before_gating."),
    "routing": ("vision_model.", "language_model.", "mlp1.", "mlp2."),
}


def test_every_stage_starts_from_the_one_before(out: Path) -> None:
    for before, after in pairwise(("untrained", *STAGES)):
        old, new = (load_file(out / stage / WEIGHTS_FILE) for stage in (before, after))
        same = [name for name in old if name.startswith(UNTRAINED[after])]
        assert all(torch.equal(old[name], new[name]) for name in same)
        assert not all(torch.equal(old[name], new[name]) for name in old)


def test_the_last_part_starts_from_the_mean_of_two(out: Path) -> None:
    served, kept, mean = (
        load_file(out / "consistency" / name / WEIGHTS_FILE)
        for name in ("served", "kept", "before-settled")
    )
    assert all(torch.equal(mean[name], (served[name] + kept[name]) / 2) for name in mean)
    assert not all(torch.equal(served[name], kept[name]) for name in mean)


def test_no_state_is_left_behind(out: Path) -> None:
    assert not list(out.rglob(STATE_FILE))
    assert not list(out.rglob("*.new"))
