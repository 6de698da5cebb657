"""Pixel shuffle and projectors against the slow model."""

import pytest
import torch

from tests.vision_service import slow_model
from vision_service.projector import pixel_shuffle
from vision_service.vision_model import VisionModel


@pytest.mark.parametrize("factor", [2, 4])
def test_pixel_shuffle_is_the_closed_form(factor: int) -> None:
    features = torch.randn(3, 64, 5)
    expected = torch.stack([slow_model.fold(tile, factor) for tile in features])
    assert torch.equal(pixel_shuffle(features, factor), expected)


def test_pixel_shuffle_reads_neighbourhoods_row_by_row() -> None:
    patches = torch.arange(16.0).reshape(1, 16, 1)
    tokens = [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]]
    assert pixel_shuffle(patches, 2)[0].tolist() == tokens


@pytest.mark.parametrize("num_tiles", [1, 2, 5, 13])
def test_projection_equals_the_slow_model(model: VisionModel, num_tiles: int) -> None:
    features = torch.randn(num_tiles, 64, 32)
    compressed = [index % 3 == 1 for index in range(num_tiles)]
    tiles = zip(features, compressed, strict=True)
    expected = torch.cat([slow_model.project(model.state_dict(), *tile) for tile in tiles])
    error = (model.project(features, compressed) - expected).norm() / expected.norm()
    assert error < 1e-5


@pytest.mark.parametrize(("compressed", "tokens"), [(False, 3 * 16), (True, 3 * 4)])
def test_one_resolution_alone(model: VisionModel, compressed: bool, tokens: int) -> None:
    assert model.project(torch.randn(3, 64, 32), [compressed] * 3).shape == (tokens, 24)


def test_only_the_chosen_branch_runs(model: VisionModel) -> None:
    rows: list[int] = []
    hook = model.mlp2.register_forward_hook(lambda _, inputs, __: rows.append(len(inputs[0])))
    model.project(torch.randn(5, 64, 32), [False, True, False, True, False])
    hook.remove()
    assert rows == [2]
