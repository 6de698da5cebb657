"""What a tile costs, measured at once, is what it costs one forward pass at a time."""

import random
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from common.model_config import load_model_config
from tests.reference.flash_model import FlashModel, load_flash_model
from training.batches import Batcher, PictureQuestions
from training.consistency import divergence
from training.picture_data import PictureCutter
from training.questions import Turn, ask_all
from training.ratio_window import LOSS_FLOOR, RatioWindow
from training.scenes import draw_scene
from training.tile_labels import SEED, LabelledTiles, OneCompressedMaker, label_tiles, measure
from training.tokenizer import train_tokenizer
from training.trainable_model import TrainableModel

CPU = torch.device("cpu")
NUM_PICTURES = 5
FULL, FEW = 16, 4
# Tiles of what these seeds draw.
EXPECTED = {"one tile 0": 1, "three 2": 3, "five 9": 5}


@pytest.fixture(scope="module")
def model(lively_dir: Path) -> TrainableModel:
    return TrainableModel(lively_dir, CPU).requires_grad_(False)


@pytest.fixture(scope="module")
def reference(other_lively_dir: Path) -> TrainableModel:
    return TrainableModel(other_lively_dir, CPU).requires_grad_(False)


def source(name: object) -> random.Random:
    return random.Random(f"{name}")  # noqa: S311 - drawing, not secrets


def logits_alone(
    model: FlashModel, pictures: PictureQuestions, branch: tuple[Turn, ...], rates: Sequence[bool]
) -> torch.Tensor:
    """Logits [n, vocabulary] of one conversation's answers, one tile at a time."""
    batcher = Batcher(train_tokenizer())
    tokens = [FEW if compressed else FULL for compressed in rates]
    alone = PictureQuestions(pictures.pictures, (branch,))
    batch = batcher.batch([alone], [tokens], torch.empty(0))
    tiles = [tile for cut in pictures.pictures for tile in cut.pixels]
    visual = [
        model.embedding(model.features(tile), compressed)
        for tile, compressed in zip(tiles, rates, strict=True)
    ]
    with torch.no_grad():
        embeddings = model.language.get_input_embeddings()(batch.token_ids)
        embeddings[batch.token_ids == batcher.context_id] = torch.cat(visual)
        logits: torch.Tensor = model.language(inputs_embeds=embeddings).logits[0]
    return logits[batch.answer_places]


def slow_ratios(model: FlashModel, reference: FlashModel, asked: PictureQuestions) -> list[float]:
    num_tiles = sum(len(cut.pixels) for cut in asked.pictures)
    whole = [False] * num_tiles
    masks = [whole, *([at == tile for at in range(num_tiles)] for tile in range(num_tiles))]
    wanted = torch.cat([logits_alone(reference, asked, each, whole) for each in asked.branches])
    losses = []
    for mask in masks:
        found = torch.cat([logits_alone(model, asked, each, mask) for each in asked.branches])
        losses.append(float(divergence(wanted.double(), found.double())))
    return [(loss + LOSS_FLOOR) / (losses[0] + LOSS_FLOOR) for loss in losses[1:]]


def drawn_again(directory: Path, seed: object) -> PictureQuestions:
    """What a maker draws from the same source."""
    again = source(seed)
    scene = draw_scene(again)
    cut = PictureCutter(load_model_config(directory)).cut(scene)
    return PictureQuestions((cut,), tuple((turn,) for turn in ask_all(scene, again)))


@pytest.mark.parametrize("seed", EXPECTED)
def test_ratios_are_those_of_one_pass_at_a_time(
    lively_dir: Path,
    other_lively_dir: Path,
    model: TrainableModel,
    reference: TrainableModel,
    seed: str,
) -> None:
    measured = measure(model, reference, OneCompressedMaker(lively_dir)(source(seed), 0))
    asked = drawn_again(lively_dir, seed)
    assert len(measured.ratios) == EXPECTED[seed]
    served, frozen = load_flash_model(lively_dir), load_flash_model(other_lively_dir)
    assert measured.ratios == pytest.approx(slow_ratios(served, frozen, asked), rel=1e-3)
    assert len(set(measured.ratios)) == len(measured.ratios)
    tiles = [tile for cut in asked.pictures for tile in cut.pixels]
    for found, tile in zip(measured.features, tiles, strict=True):
        torch.testing.assert_close(found, served.features(tile), rtol=0, atol=1e-4)


def test_everything_that_can_be_asked_is_asked_with_each_tile_compressed(lively_dir: Path) -> None:
    maker, tokenizer = OneCompressedMaker(lively_dir), train_tokenizer()
    for index in range(20):
        scene = draw_scene(source(f"pictured {index}"))
        made = maker(source(f"pictured {index}"), 0)
        answers = [turn.answer for turn in ask_all(scene, source(index))]
        wanted = [len(tokenizer.encode(answer, add_special_tokens=False).ids) for answer in answers]
        assert len(made.full.answers) == sum(wanted) + len(wanted)
        (num_tiles,) = made.full.tiles
        assert num_tiles == len(made.full.pixels) >= 1
        assert made.each.tiles == (num_tiles,) * (num_tiles + 1)
        assert len(made.each.answers) == (num_tiles + 1) * len(made.full.answers)


@pytest.fixture(scope="module")
def labelled(model: TrainableModel, reference: TrainableModel, lively_dir: Path) -> LabelledTiles:
    return label_tiles(model, reference, OneCompressedMaker(lively_dir), NUM_PICTURES)


def test_tiles_are_labelled_as_they_come(
    labelled: LabelledTiles, model: TrainableModel, reference: TrainableModel, lively_dir: Path
) -> None:
    maker, window = OneCompressedMaker(lively_dir), RatioWindow()
    features, labels = [], []
    for step in range(NUM_PICTURES):
        measured = measure(model, reference, maker(source(f"{SEED} {step}"), step))
        features.append(measured.features)
        labels += window.label(measured.ratios)
    assert labelled.labels.tolist() == labels
    assert torch.equal(labelled.features, torch.cat(features))
    assert len(set(labels)) == 2


def test_labelled_tiles_are_kept_whole(labelled: LabelledTiles, tmp_path: Path) -> None:
    file = tmp_path / "new" / "tiles.safetensors"
    labelled.save(file)
    loaded = LabelledTiles.load(file)
    assert torch.equal(loaded.features, labelled.features)
    assert torch.equal(loaded.labels, labelled.labels)
    assert loaded.labels.dtype == torch.int64
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_a_split_loses_nothing(labelled: LabelledTiles) -> None:
    first, others = labelled.to(CPU).split(3)
    assert (len(first.labels), len(first.features)) == (3, 3)
    assert torch.equal(torch.cat([first.features, others.features]), labelled.features)
    assert torch.equal(torch.cat([first.labels, others.labels]), labelled.labels)
