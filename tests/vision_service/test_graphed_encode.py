"""Captured passes: which there are, that they give what others give, and that results last."""

import logging
import time

import pytest
import torch

from common.config import ImageLimits
from common.device_graphs import Step
from common.model_config import ModelConfig
from tests import pictures
from tests.captures import RunAgain, never
from tests.vision_service.conftest import SHAPE, random_model
from vision_service.device_batches import DeviceBatches
from vision_service.engine import VisionEngine
from vision_service.graphed_encode import GraphedEncode
from vision_service.preprocess import Preprocessor
from vision_service.vision_model import VisionModel

SIDE = SHAPE.tile_size


@pytest.fixture
def model(config: ModelConfig) -> VisionModel:
    return random_model(config)


def tiles(number: int) -> torch.Tensor:
    return torch.randn(number, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(number))


@torch.inference_mode()
def test_passes_of_a_captured_size_are_replayed(model: VisionModel) -> None:
    capture = RunAgain()
    graphs = GraphedEncode(model, SIDE, capture)
    graphs.prepare()
    assert capture.num_rows == [8, 4, 2, 1]
    for number in (1, 2, 3, 8, 16):
        assert torch.equal(graphs.encode(tiles(number)), model.encode(tiles(number)))
    assert capture.replays == [1, 2, 8]


@torch.inference_mode()
def test_features_outlast_the_next_pass(model: VisionModel) -> None:
    place = torch.zeros(8, SHAPE.num_patches, SHAPE.hidden_size)

    def into_one_place(step: Step) -> Step:
        def replay() -> torch.Tensor:
            outcome = step()
            place[: len(outcome)].copy_(outcome)
            return place[: len(outcome)]

        return replay

    graphs = GraphedEncode(model, SIDE, into_one_place)
    graphs.prepare()
    first = graphs.encode(tiles(2))
    graphs.encode(tiles(2) + 1)
    assert torch.equal(first, model.encode(tiles(2)))


def test_where_capture_fails_passes_run_as_they_would(
    model: VisionModel, caplog: pytest.LogCaptureFixture
) -> None:
    graphs = GraphedEncode(model, SIDE, never)
    with caplog.at_level(logging.WARNING):
        graphs.prepare()
    assert "cannot be captured" in caplog.text
    assert torch.equal(graphs.encode(tiles(2)), model.encode(tiles(2)))


def test_the_engine_replays_what_it_has_captured(config: ModelConfig, model: VisionModel) -> None:
    tiled = Preprocessor(config, ImageLimits()).tile(pictures.shapes(56, 56))
    capture = RunAgain()
    device = DeviceBatches(model.device, model.dtype, SHAPE, 16)
    graphs = GraphedEncode(model, SIDE, capture)
    engine = VisionEngine(model, config, 16, time.monotonic, device=device, graphs=graphs)
    engine.warm_up()
    encoded = engine.submit_encode(b"picture", tiled)
    while engine.step():
        pass
    assert torch.equal(encoded.result(0).features, model.encode(tiled.pixels))
    assert capture.replays == [len(tiled.pixels)]
