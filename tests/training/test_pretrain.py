"""The stages of pre-training learn within a minute, and leave a whole checkpoint behind."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional

from training.batches import Batcher
from training.checkpoint_files import WEIGHTS_FILE
from training.forward import READING_LAYER
from training.label_heads import HEADS_FILE
from training.picture_data import QuestionBatch, ReadingMaker, batches
from training.pretrain import (
    EYES,
    QUESTIONS,
    READING,
    Read,
    train_eyes,
    train_questions,
    train_reading,
)
from training.stage import LOSSES_FILE, STATE_FILE, StageFolders
from training.tokenizer import train_tokenizer
from training.trainable_model import TrainableModel

CPU = torch.device("cpu")
SHORT_EYES = replace(EYES, num_steps=40, batch_size=16)
SHORT_READING = replace(READING, num_steps=40, batch_size=16)
SHORT_QUESTIONS = replace(QUESTIONS, num_steps=30, batch_size=8)


@pytest.fixture(scope="module")
def start(untrained_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("start") / "untrained"
    shutil.copytree(untrained_dir, directory)
    return directory


@pytest.fixture(scope="module")
def eyes(start: Path, tmp_path_factory: pytest.TempPathFactory) -> StageFolders:
    """The first stage, complete."""
    folders = StageFolders(start, tmp_path_factory.mktemp("eyes"))
    train_eyes(folders, CPU, SHORT_EYES)
    return folders


@pytest.fixture(scope="module")
def reading(eyes: StageFolders, tmp_path_factory: pytest.TempPathFactory) -> StageFolders:
    """The second."""
    folders = StageFolders(eyes.out, tmp_path_factory.mktemp("reading"))
    train_reading(folders, CPU, SHORT_READING)
    return folders


def written_losses(folders: StageFolders) -> list[float]:
    losses: list[float] = json.loads((folders.out / LOSSES_FILE).read_text())
    return losses


def mean(losses: list[float]) -> float:
    return sum(losses) / len(losses)


def changed(folders: StageFolders) -> set[str]:
    """Top-level modules of the tensors that the stage changed."""
    old, new = (load_file(each / WEIGHTS_FILE) for each in (folders.start, folders.out))
    assert old.keys() == new.keys()
    return {name.split(".")[0] for name in old if not torch.equal(old[name], new[name])}


def test_the_eyes_learn(eyes: StageFolders) -> None:
    losses = written_losses(eyes)
    assert len(losses) == SHORT_EYES.num_steps
    assert mean(losses[-5:]) < 0.85 * mean(losses[:5])
    assert changed(eyes) == {"vision_model"}
    assert {file.name for file in eyes.out.iterdir()} >= {HEADS_FILE, LOSSES_FILE, WEIGHTS_FILE}
    assert not (eyes.out / STATE_FILE).exists()


def test_the_language_model_learns_to_read(reading: StageFolders) -> None:
    losses = written_losses(reading)
    assert len(losses) == SHORT_READING.num_steps
    assert mean(losses[-5:]) < 0.9 * mean(losses[:5])
    assert changed(reading) == {"mlp1", "language_model"}


def test_the_answers_get_better(reading: StageFolders, tmp_path: Path) -> None:
    folders = StageFolders(reading.out, tmp_path)
    losses = train_questions(folders, CPU, SHORT_QUESTIONS)
    assert mean(losses[-5:]) < 0.6 * mean(losses[:5])
    assert written_losses(folders) == pytest.approx(losses, abs=1e-5)
    assert changed(folders) == {"mlp1", "language_model"}
    assert TrainableModel(tmp_path, CPU).config.tiling.max_tiles == 6


def test_the_classifiers_go_on_from_reading(reading: StageFolders, tmp_path: Path) -> None:
    """One step at the lowest rate moves no weight far."""
    folders = StageFolders(reading.out, tmp_path)
    train_questions(folders, CPU, replace(SHORT_QUESTIONS, num_steps=1, batch_size=4))
    before, after = (load_file(each / HEADS_FILE) for each in (reading.out, tmp_path))
    assert any(not torch.equal(before[name], after[name]) for name in before)
    for name, tensor in before.items():
        torch.testing.assert_close(after[name], tensor, rtol=0, atol=1e-3)


@torch.no_grad()
def test_what_is_read_is_each_picture_read_alone(lively_dir: Path) -> None:
    model = TrainableModel(lively_dir, CPU)
    (made,) = batches(ReadingMaker(lively_dir, num_tiles=5), 1, 0, 1)
    assert isinstance(made, QuestionBatch)
    states = Read.of(model, made).states
    num_tiles = len(made.batch.pixels)
    assert num_tiles >= 5
    assert states.shape == (num_tiles, 16, 192)
    ones = torch.ones(num_tiles, 16)
    torch.testing.assert_close(states.mean(-1), 0 * ones, rtol=0, atol=1e-5)
    torch.testing.assert_close(states.var(-1, correction=0), ones, rtol=0, atol=1e-3)
    context_id = Batcher(train_tokenizer()).context_id
    of_pictures = torch.split(states, made.batch.tiles)
    for number, tiles in enumerate(torch.split(made.batch.pixels, made.batch.tiles)):
        prefix = made.batch.token_ids[made.batch.sequences == number][None]
        embeddings = model.language.get_input_embeddings()(prefix)
        features = torch.cat([model.vision.encode(tile[None]) for tile in tiles])
        visual = model.vision.project(features, [False] * len(tiles))
        embeddings[prefix == context_id] = visual
        passed = model.language.model(inputs_embeds=embeddings, output_hidden_states=True)
        alone = passed.hidden_states[READING_LAYER][prefix == context_id]
        wanted = functional.layer_norm(alone, alone.shape[-1:])
        torch.testing.assert_close(of_pictures[number].flatten(0, 1), wanted, rtol=0, atol=1e-4)


def test_a_stage_cut_off_and_resumed_is_the_stage_without_a_cut(
    start: Path, tmp_path: Path
) -> None:
    recipe = replace(SHORT_EYES, num_steps=4, batch_size=4)
    whole, cut = (StageFolders(start, tmp_path / name) for name in ("whole", "cut"))
    losses = train_eyes(whole, CPU, recipe)
    assert train_eyes(cut, CPU, recipe, last_step=2) == losses[:2]
    assert not cut.is_complete
    assert train_eyes(cut, CPU, recipe) == losses
    for name in (WEIGHTS_FILE, HEADS_FILE, LOSSES_FILE):
        assert (whole.out / name).read_bytes() == (cut.out / name).read_bytes()


def test_the_first_stage_writes_what_it_starts_from(tmp_path: Path) -> None:
    """Even where writing was cut off after the configuration."""
    folders = StageFolders(tmp_path / "untrained", tmp_path / "eyes")
    folders.start.mkdir()
    (folders.start / "config.json").write_text("{}")
    assert len(train_eyes(folders, CPU, replace(SHORT_EYES, batch_size=2), last_step=1)) == 1
    assert TrainableModel(folders.start, CPU).config.tiling.max_tiles == 6


def test_the_first_stage_leaves_what_it_starts_from(
    untrained_dir: Path, start: Path, eyes: StageFolders
) -> None:
    assert eyes.start == start
    for file in start.iterdir():
        assert file.read_bytes() == (untrained_dir / file.name).read_bytes()
