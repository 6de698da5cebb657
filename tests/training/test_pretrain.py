"""Both stages of pre-training at the smallest size: they learn, and leave a checkpoint behind."""

from pathlib import Path

import pytest
import torch

from training.build_checkpoint import THRESHOLDS
from training.dense_labels import NUM_CLASSES
from training.picture_data import EyesBatch, EyesMaker, QuestionBatch, QuestionMaker
from training.pretrain import (
    EYES,
    QUESTIONS,
    PatchHeads,
    load_heads,
    save_heads,
    train_eyes,
    train_questions,
)
from training.run import TrainingRun
from training.trainable_model import TrainableModel, write_untrained

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("untrained")
    write_untrained(directory, seed=0)
    return directory


def mean(losses: list[float]) -> float:
    return sum(losses) / len(losses)


def test_the_eyes_learn(start: Path) -> None:
    model = TrainableModel(start, CPU)
    run = TrainingRun[EyesBatch](EyesMaker(start, num_tiles=16), EYES, 40)
    train_eyes(run, model, PatchHeads(model.config))
    assert mean(run.losses[-5:]) < 0.9 * mean(run.losses[:5])


def test_the_answers_get_better(start: Path, tmp_path: Path) -> None:
    model = TrainableModel(start, CPU)
    heads = PatchHeads(model.config)
    run = TrainingRun[QuestionBatch](QuestionMaker(start, 4, easy_steps=20), QUESTIONS, 20)
    train_questions(run, model, heads)
    assert mean(run.losses[-3:]) < 0.9 * mean(run.losses[:3])
    model.save(tmp_path, "bfloat16", THRESHOLDS)
    assert TrainableModel(tmp_path, CPU).config.tiling.max_tiles == 6


def test_a_run_draws_the_same_batches_again(start: Path) -> None:
    makers = [EyesMaker(start, num_tiles=4) for _ in range(2)]
    runs = [TrainingRun[EyesBatch](maker, EYES, 2) for maker in makers]
    first, second = ([batch for _, batch in run.steps()] for run in runs)
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one.pixels, other.pixels)
        assert all(torch.equal(one.labels[name], other.labels[name]) for name in NUM_CLASSES)


def test_patch_classifiers_go_from_stage_to_stage(start: Path, tmp_path: Path) -> None:
    config = TrainableModel(start, CPU).config
    kept, taken = PatchHeads(config), PatchHeads(config)
    save_heads(kept, tmp_path)
    load_heads(taken, tmp_path)
    for name, tensor in kept.state_dict().items():
        assert torch.equal(tensor, taken.state_dict()[name])
