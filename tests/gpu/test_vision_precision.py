"""The vision transformer in bfloat16 on a card, near what float32 computes on a CPU."""

import copy

import pytest
import torch
from torch.nn.functional import cosine_similarity

from common.model_config import ModelConfig
from tests.vision_service import conftest

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
config = conftest.config


def test_features_and_tokens_in_bfloat16_come_near_those_in_float32(config: ModelConfig) -> None:
    model = conftest.random_model(config)
    on_card = copy.deepcopy(model).to("cuda", torch.bfloat16)
    side = config.vision.tile_size
    pixels = torch.randn(8, 3, side, side, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        wanted = model.encode(pixels)
        found = on_card.encode(pixels.to("cuda", torch.bfloat16))
        likeness = cosine_similarity(found.float().cpu(), wanted, dim=-1)
        assert likeness.min() > 0.99
        mask = [index % 2 == 0 for index in range(8)]
        tokens = on_card.project(found, mask).float().cpu()
        assert cosine_similarity(tokens, model.project(wanted, mask), dim=-1).min() > 0.98
        scores = on_card.scores(found).cpu()
        torch.testing.assert_close(scores, model.scores(wanted), atol=0.15, rtol=0.0)
