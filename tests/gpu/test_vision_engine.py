"""The vision engine on a CUDA device: passes, copies and projections overlap, results do not."""

import copy
import time

import pytest
import torch

from common.config import ImageLimits
from common.model_config import ModelConfig
from tests import pictures
from tests.vision_service import conftest
from vision_service.engine import VisionEngine
from vision_service.preprocess import Preprocessor
from vision_service.vision_model import VisionModel

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

SIZES = [(56, 56), (224, 112), (112, 56), (224, 168), (60, 50)] * 4

config = conftest.config


@pytest.fixture
def model(config: ModelConfig) -> VisionModel:
    return conftest.random_model(config)


def test_results_in_company_are_those_of_the_cpu(config: ModelConfig, model: VisionModel) -> None:
    tile = Preprocessor(config, ImageLimits()).tile
    tiled = [tile(pictures.shapes(*size)) for size in SIZES]
    engine = VisionEngine(copy.deepcopy(model).cuda(), config, 16, time.monotonic)
    futures = [engine.submit_encode(bytes([i]), image) for i, image in enumerate(tiled)]
    while engine.step():
        pass
    for image, future in zip(tiled, futures, strict=True):
        encoded = future.result(0)
        wanted = model.encode(image.pixels)
        torch.testing.assert_close(encoded.features.cpu(), wanted, rtol=1e-3, atol=1e-3)
        mask = tuple(index % 2 == 0 for index in range(len(wanted)))
        projected = engine.submit_project(encoded, mask, torch.float32)
        assert engine.step()
        tokens = model.project(wanted, mask)
        torch.testing.assert_close(projected.result(0).embeddings, tokens, rtol=1e-3, atol=1e-3)
