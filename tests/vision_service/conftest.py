"""A small vision model with random weights, built in memory.

65 rows a tile: with fewer, the CPU's matrix products may round differently from batch to batch.
"""

from dataclasses import replace

import pytest
import torch

from common.model_config import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    CheckpointLayout,
    ModelConfig,
    VisionShape,
)
from common.resolution_rule import ResolutionThresholds
from common.tiling import TilingOptions
from vision_service.vision_model import VisionModel

SHAPE = VisionShape(
    hidden_size=32,
    num_layers=2,
    num_heads=2,
    intermediate_size=64,
    tile_size=56,
    patch_size=7,
    qkv_bias=True,
    qk_norm=False,
    norm_type="layer_norm",
    norm_eps=1e-6,
    activation="gelu",
)


@pytest.fixture(autouse=True)
def _same_every_time() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def config() -> ModelConfig:
    """Of a Flash model: 64 patches a tile, 16 visual tokens or 4, 24 wide."""
    return ModelConfig(
        layout=CheckpointLayout.ORIGINAL,
        tiling=TilingOptions(tile_size=56, min_tiles=1, max_tiles=12, use_thumbnail=True),
        pixel_mean=IMAGENET_MEAN,
        pixel_std=IMAGENET_STD,
        vision=SHAPE,
        text={"hidden_size": 24, "max_position_embeddings": 512},
        downsample_ratio=0.5,
        thresholds=ResolutionThresholds(relative=0.5, absolute=0.0),
    )


@pytest.fixture(scope="session")
def plain_config(config: ModelConfig) -> ModelConfig:
    """The same without a gate."""
    return replace(config, thresholds=None)


@pytest.fixture(scope="session")
def model(config: ModelConfig) -> VisionModel:
    """Random weights under which features and scores differ from tile to tile."""
    return random_model(config)


@pytest.fixture(scope="session")
def plain_model(plain_config: ModelConfig) -> VisionModel:
    """The same without a gate."""
    return random_model(plain_config)


def random_model(config: ModelConfig) -> VisionModel:
    source = torch.Generator().manual_seed(7)
    model = VisionModel(config).eval().requires_grad_(False)
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=source)
        is_norm_scale = parameter.ndim == 1 and name.endswith("weight")
        gain = 1.5 / parameter[0].numel() ** 0.5 if parameter.ndim > 1 else 0.1
        parameter.copy_(noise * gain + float(is_norm_scale))
    return model
