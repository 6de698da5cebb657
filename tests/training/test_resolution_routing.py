"""The gate learns its labels, nothing else changes, and its best weights are kept."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from training.ratio_window import COMPRESS, KEEP
from training.resolution_routing import (
    BATCH_TILES,
    LABELS_FILE,
    GateTraining,
    check_gate,
    gate_logits,
    gate_loss,
    train_resolution_routing,
)
from training.stage import LOSSES_FILE, StageFolders
from training.tile_labels import LabelledTiles
from training.trainable_model import TrainableModel

CPU = torch.device("cpu")
PATCHES, WIDTH = 64, 128
GATE_PARTS = ("gating.", "pooling_before_gating.")
# Stored in every published checkpoint, never computed with.
UNUSED = ("attn3", "attn4", "norm3", "norm4")


def separable(num_tiles: int, seed: int = 0, strength: float = 4.0) -> LabelledTiles:
    """Tiles to keep have one direction in some of their patches."""
    source = torch.Generator().manual_seed(seed)
    labels = torch.randint(2, (num_tiles,), generator=source)
    features = torch.randn(num_tiles, PATCHES, WIDTH, generator=source)
    features[labels == KEEP, :16, :8] += strength
    return LabelledTiles(features, labels)


@pytest.fixture
def model(lively_dir: Path) -> TrainableModel:
    return TrainableModel(lively_dir, CPU)


def gate_state(model: TrainableModel) -> dict[str, torch.Tensor]:
    state = model.vision.state_dict()
    return {name: tensor.clone() for name, tensor in state.items() if name.startswith(GATE_PARTS)}


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(one[name], tensor) for name, tensor in other.items())


@torch.no_grad()
def test_logits_are_those_that_are_served(model: TrainableModel) -> None:
    tiles = separable(6)
    served = model.vision.scores(tiles.features)
    trained = gate_logits(model, tiles.features).softmax(-1)[:, COMPRESS]
    torch.testing.assert_close(trained, served)
    own = torch.where(tiles.labels == COMPRESS, served, 1 - served)
    assert float(gate_loss(model, tiles.features, tiles.labels)) == pytest.approx(
        float(-own.double().log().mean()), rel=1e-4
    )


def test_separable_labels_are_learned(model: TrainableModel) -> None:
    losses = GateTraining(model, separable(400)).train(40)
    assert len(losses) == 40
    assert sum(losses[-10:]) < 0.3 * sum(losses[:10])
    found = check_gate(model, separable(200, seed=1))
    assert found.right > 0.95
    assert found.loss < 0.2


def test_training_again_gives_the_same_gate(model: TrainableModel, lively_dir: Path) -> None:
    tiles = separable(100)
    torch.manual_seed(1)
    losses = GateTraining(model, tiles).train(6)
    other = TrainableModel(lively_dir, CPU)
    torch.manual_seed(2)
    before = torch.random.get_rng_state()
    assert GateTraining(other, tiles).train(6) == losses
    assert torch.equal(torch.random.get_rng_state(), before)
    assert equal(gate_state(model), gate_state(other))


def test_dropout_acts_in_training_alone(model: TrainableModel) -> None:
    tiles = separable(BATCH_TILES)
    GateTraining(model, tiles).train(1)
    assert not any(module.training for module in model.vision.modules())
    assert torch.equal(gate_logits(model, tiles.features), gate_logits(model, tiles.features))


def test_the_weights_that_did_best_on_held_out_tiles_are_kept(model: TrainableModel) -> None:
    """Labels without a reason can only be learned by heart, which does not help unseen tiles."""
    tiles = separable(160, strength=0.0)
    unseen, _ = tiles.split(16)
    training = GateTraining(model, tiles)
    training.train(150)
    assert check_gate(model, unseen).loss == pytest.approx(training.best.loss, abs=1e-5)


def test_a_short_training_keeps_what_it_learned(model: TrainableModel) -> None:
    before = gate_state(model)
    GateTraining(model, separable(5)).train(2)
    assert not equal(gate_state(model), before)


def test_only_the_gate_changes(lively_dir: Path, tmp_path: Path) -> None:
    separable(80).save(tmp_path / LABELS_FILE)
    nowhere = tmp_path / "no reference is needed for labels that are there"
    folders = StageFolders(lively_dir, tmp_path)
    losses = train_resolution_routing(folders, nowhere, CPU, num_steps=3)
    before, after = (load_file(each / "model.safetensors") for each in (lively_dir, tmp_path))
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    gate = {name for name in before if name.startswith(GATE_PARTS)}
    assert changed == {name for name in gate if not any(part in name for part in UNUSED)}
    written = json.loads((tmp_path / LOSSES_FILE).read_text())
    assert written == pytest.approx(losses, abs=1e-5)


def test_tiles_are_labelled_where_no_labels_are(
    lively_dir: Path, other_lively_dir: Path, tmp_path: Path
) -> None:
    folders = StageFolders(lively_dir, tmp_path)
    train_resolution_routing(folders, other_lively_dir, CPU, num_pictures=4, num_steps=1)
    tiles = LabelledTiles.load(tmp_path / LABELS_FILE)
    assert len(tiles.labels) >= 4
    written = (tmp_path / LABELS_FILE).stat().st_mtime_ns
    train_resolution_routing(folders, other_lively_dir, CPU, num_pictures=9, num_steps=1)
    assert (tmp_path / LABELS_FILE).stat().st_mtime_ns == written
