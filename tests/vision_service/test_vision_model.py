"""What holds of the model as a whole: neighbours never change a result."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from common.model_config import ModelConfig
from common.resolution_rule import ResolutionThresholds, compress_mask
from vision_service.vision_model import VisionModel

MEDIAN = ResolutionThresholds(relative=0.5, absolute=0.0)


@pytest.fixture(scope="module")
def pixels() -> torch.Tensor:
    """17 tiles of which the last four are the same blank one."""
    tiles = torch.randn(17, 3, 56, 56, generator=torch.Generator().manual_seed(1))
    tiles[13:] = 0.5
    return tiles


@pytest.fixture(scope="module")
def features_alone(model: VisionModel, pixels: torch.Tensor) -> torch.Tensor:
    return torch.cat([model.encode(tile[None]) for tile in pixels])


@pytest.mark.parametrize("batch", [2, 3, 5, 8, 16, 17])
def test_features_are_the_same_bits_in_every_batch(
    model: VisionModel, pixels: torch.Tensor, features_alone: torch.Tensor, batch: int
) -> None:
    features = torch.cat([model.encode(part) for part in torch.split(pixels, batch)])
    assert torch.equal(features, features_alone)


@given(order=st.permutations(range(17)), size=st.integers(1, 17))
@settings(max_examples=30, deadline=None)
def test_neighbours_never_change_a_score(
    model: VisionModel, features_alone: torch.Tensor, order: list[int], size: int
) -> None:
    chosen = order[:size]
    alone = torch.cat([model.scores(features_alone[i : i + 1]) for i in chosen])
    assert torch.equal(model.scores(features_alone[chosen]), alone)


@pytest.mark.parametrize("num_tiles", [1, 5, 16])
def test_a_padded_pass_gives_the_scores_of_its_tiles(
    model: VisionModel, features_alone: torch.Tensor, num_tiles: int
) -> None:
    features = features_alone[:num_tiles]
    alone = model.scores(features).tolist()
    assert model._score_pass(features, rows=16).tolist() == pytest.approx(alone, rel=1e-5)


@pytest.mark.parametrize("num_strangers", [0, 1, 4, 12])
def test_ties_of_a_half_blank_page_stay_ties(
    model: VisionModel, pixels: torch.Tensor, num_strangers: int
) -> None:
    page = torch.cat([pixels[9:], pixels[:num_strangers]])
    scores = model.scores(model.encode(page))[:8].tolist()
    alone = model.scores(model.encode(pixels[9:])).tolist()
    assert len(set(scores[4:])) == 1
    assert compress_mask(scores, MEDIAN, True) == compress_mask(alone, MEDIAN, True)


def test_random_scores_differ(model: VisionModel, features_alone: torch.Tensor) -> None:
    scores = model.scores(features_alone[:13])
    assert len(set(scores.tolist())) == 13
    assert scores.dtype == torch.float32
    assert scores.max() - scores.min() > 0.1


def test_scores_of_bfloat16_are_those_of_bfloat16(config: ModelConfig, model: VisionModel) -> None:
    half = VisionModel(config).eval()
    half.load_state_dict(model.state_dict())
    half.to(torch.bfloat16)
    scores = half.scores(torch.randn(5, 64, 32, dtype=torch.bfloat16))
    assert scores.dtype == torch.float32
    assert torch.equal(scores, scores.bfloat16().float())


def test_a_plain_model_has_no_gate(plain_model: VisionModel) -> None:
    assert not plain_model.has_gate
    assert {name.partition(".")[0] for name in plain_model.state_dict()} == {"vision_model", "mlp1"}
