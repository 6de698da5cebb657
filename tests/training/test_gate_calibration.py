"""The gate of a random checkpoint tells plain tiles from busy ones that it never saw."""

from pathlib import Path

from tests import pictures
from tests.reference.flash_model import load_flash_model
from tests.reference.tiles import cut
from training.build_checkpoint import THRESHOLDS

COLOURS = ("white", "black", "ivory", "skyblue", "salmon", "seagreen", "gold", "purple")
TILE = pictures.TILE


def score(model_dir: Path, picture: bytes) -> float:
    model = load_flash_model(model_dir)
    (tile,) = cut(model_dir, picture).pixels
    return model.score(model.features(tile))


def test_most_plain_tiles_may_be_compressed(flash_model_dir: Path) -> None:
    scores = [score(flash_model_dir, pictures.blank(TILE, TILE, colour)) for colour in COLOURS]
    assert sum(p > THRESHOLDS.absolute for p in scores) >= 6


def test_most_busy_tiles_may_not(flash_model_dir: Path) -> None:
    scores = [score(flash_model_dir, pictures.grid(1, 1, seed)) for seed in range(12)]
    assert sum(p < THRESHOLDS.absolute for p in scores) >= 10
    assert len(set(scores)) == 12
