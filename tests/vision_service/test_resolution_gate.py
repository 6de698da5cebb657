"""Pooling and gate against the slow model and against torch's own attention."""

import pytest
import torch
from torch import nn

from common.errors import CheckpointError
from tests.vision_service import slow_model
from vision_service.resolution_gate import TilePooling, attend, keys_values
from vision_service.vision_model import VisionModel


@pytest.mark.parametrize("num_tiles", [1, 2, 7, 13])
def test_pooling_equals_the_slow_model(model: VisionModel, num_tiles: int) -> None:
    features = torch.randn(num_tiles, 64, 32)
    tensors = model.state_dict()
    expected = torch.cat([slow_model.pool(tensors, tile) for tile in features])
    pooled = model.pooling_before_gating(features)
    assert (pooled - expected).norm() / expected.norm() < 1e-5


@pytest.mark.parametrize("num_tiles", [1, 2, 7, 13])
def test_scores_equal_the_slow_model(model: VisionModel, num_tiles: int) -> None:
    features = torch.randn(num_tiles, 64, 32)
    tensors = model.state_dict()
    expected = torch.tensor([slow_model.score(tensors, tile) for tile in features])
    assert (model.scores(features) - expected).norm() / expected.norm() < 1e-5


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_attention_equals_that_of_torch_bit_for_bit(dtype: torch.dtype) -> None:
    attention = nn.MultiheadAttention(64, 16, batch_first=True, dtype=dtype).requires_grad_(False)
    query, features = torch.randn(1, 1, 64, dtype=dtype), torch.randn(1, 64, 64, dtype=dtype)
    expected, _ = attention(query, features, features)
    assert torch.equal(attend(attention, query, keys_values(attention, features)), expected)


def test_third_and_fourth_attention_are_stored_but_dead(model: VisionModel) -> None:
    features = torch.randn(2, 64, 32)
    names = {name for name, _ in model.pooling_before_gating.named_parameters()}
    assert {"attn3.in_proj_weight", "attn4.out_proj.bias", "norm3.weight", "norm4.bias"} <= names
    pooling = TilePooling(32).requires_grad_(False)
    dead = ("attn3", "attn4", "norm3", "norm4")
    tensors = model.pooling_before_gating.state_dict()
    pooling.load_state_dict({k: v * 2 if k.startswith(dead) else v for k, v in tensors.items()})
    assert torch.equal(pooling(features), model.pooling_before_gating(features))


def test_blocks_have_the_published_names(model: VisionModel) -> None:
    positions = {name.partition(".")[0] for name in model.gating.block1.state_dict()}
    assert positions == {"0", "3", "5"}


def test_width_that_the_heads_do_not_divide_is_refused() -> None:
    with pytest.raises(CheckpointError, match="16 heads"):
        TilePooling(40)
