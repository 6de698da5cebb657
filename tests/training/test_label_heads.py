"""Classifiers of labelled places: their loss, their accuracy, and their first weights."""

from pathlib import Path

import pytest
import torch

from training.dense_labels import NOTHING, NUM_CLASSES
from training.label_heads import LabelHeads

TILES, PATCHES, WIDTH = 3, 4, 8


def drawn_heads(seed: int) -> LabelHeads:
    return LabelHeads(WIDTH, NUM_CLASSES, seed)


@pytest.fixture
def features() -> torch.Tensor:
    source = torch.Generator().manual_seed(1)
    return torch.randn(TILES, PATCHES, WIDTH, generator=source)


def some_labels() -> dict[str, torch.Tensor]:
    """About half of the patches labelled; no icon anywhere."""
    source = torch.Generator().manual_seed(2)
    labels = {}
    for name, num_classes in NUM_CLASSES.items():
        drawn = torch.randint(num_classes, (TILES, PATCHES), generator=source)
        empty = torch.rand(TILES, PATCHES, generator=source) < 0.5
        labels[name] = drawn.masked_fill(empty | torch.tensor(name == "icon"), NOTHING)
    return labels


def test_the_loss_is_the_mean_surprise_of_each_label_added_up(features: torch.Tensor) -> None:
    heads, labels = drawn_heads(0), some_labels()
    total = 0.0
    for name, head in heads.heads.items():
        surprises = [
            -float(torch.log_softmax(head(features[tile, patch]).double(), 0)[label].detach())
            for tile, row in enumerate(labels[name].tolist())
            for patch, label in enumerate(row)
            if label != NOTHING
        ]
        assert bool(surprises) == (name != "icon")
        total += sum(surprises) / max(1, len(surprises))
    assert float(heads.loss(features, labels).detach()) == pytest.approx(total, rel=1e-5)


def test_accuracy_is_the_share_of_labelled_patches_named_rightly(features: torch.Tensor) -> None:
    heads = drawn_heads(0)
    named = {name: head(features).argmax(-1) for name, head in heads.heads.items()}
    right = {name: torch.full((TILES, PATCHES), NOTHING) for name in NUM_CLASSES}
    right["colour"] = named["colour"].clone()
    right["dots"][0] = named["dots"][0]
    right["dots"][0, 0] = 1 - named["dots"][0, 0]
    assert heads.accuracy(features, right) == {"colour": 1.0, "dots": 0.75}


def test_tiles_without_labels_cost_nothing(features: torch.Tensor) -> None:
    nothing = {name: torch.full((TILES, PATCHES), NOTHING) for name in NUM_CLASSES}
    heads = drawn_heads(0)
    assert float(heads.loss(features, nothing)) == 0
    assert heads.accuracy(features, nothing) == {}


def weights(heads: LabelHeads) -> torch.Tensor:
    return torch.cat([tensor.flatten() for tensor in heads.state_dict().values()])


def test_first_weights_depend_on_the_seed_alone() -> None:
    first = drawn_heads(5)
    torch.rand(3)
    before = torch.random.get_rng_state()
    assert torch.equal(weights(drawn_heads(5)), weights(first))
    assert not torch.equal(weights(drawn_heads(6)), weights(first))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_they_go_from_stage_to_stage(tmp_path: Path) -> None:
    kept, taken = drawn_heads(1), drawn_heads(2)
    kept.save(tmp_path)
    taken.load(tmp_path)
    assert torch.equal(weights(taken), weights(kept))
