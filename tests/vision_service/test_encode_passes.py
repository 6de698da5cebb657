"""Passes on a device that works by itself: launched ahead of the results of the one before."""

from collections.abc import Callable
from concurrent.futures import Future

import pytest
import torch

from common.config import ImageLimits
from common.model_config import ModelConfig
from tests import pictures
from tests.vision_service.conftest import SHAPE
from vision_service.device_batches import DeviceBatches
from vision_service.engine import VisionEngine
from vision_service.images import EncodedImage, TiledImage
from vision_service.preprocess import Preprocessor
from vision_service.vision_model import VisionModel

MAX_TILES = 4


class Overlapping(DeviceBatches):
    """A CPU whose results nobody looks at before the next pass is launched."""

    def __init__(self) -> None:
        super().__init__(torch.device("cpu"), torch.float32, SHAPE, MAX_TILES)
        self.overlaps = True


class Watched(VisionModel):
    """Notes at every pass which pictures have their results already."""

    def __init__(self, config: ModelConfig, model: VisionModel) -> None:
        super().__init__(config)
        self.load_state_dict(model.state_dict())
        self.futures: list[Future[EncodedImage]] = []
        self.seen: list[list[bool]] = []

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        self.seen.append([future.done() for future in self.futures])
        return super().encode(pixels)


@pytest.fixture(scope="module")
def tile(config: ModelConfig) -> Callable[[bytes], TiledImage]:
    return Preprocessor(config, ImageLimits()).tile


@pytest.fixture
def watched(config: ModelConfig, model: VisionModel) -> Watched:
    return Watched(config, model).eval()


@pytest.fixture
def engine(watched: Watched, config: ModelConfig) -> VisionEngine:
    return VisionEngine(watched, config, MAX_TILES, lambda: 0.0, device=Overlapping())


def test_a_pass_is_launched_before_the_results_of_the_one_before_are_handed_out(
    engine: VisionEngine, watched: Watched, tile: Callable[[bytes], TiledImage]
) -> None:
    tiled = tile(pictures.shapes(56, 56))
    watched.futures = [engine.submit_encode(bytes([i]), tiled) for i in range(3 * MAX_TILES)]
    steps = 0
    while engine.step():
        steps += 1
    assert [sum(seen) for seen in watched.seen] == [0, 0, MAX_TILES]
    assert steps == 4
    assert all(future.done() for future in watched.futures)


def test_the_results_are_the_same(
    engine: VisionEngine,
    model: VisionModel,
    config: ModelConfig,
    tile: Callable[[bytes], TiledImage],
) -> None:
    plain = VisionEngine(model, config, MAX_TILES, lambda: 0.0)
    sizes = [(56, 56), (224, 112), (112, 56), (224, 168), (60, 50)]
    tiled = [tile(pictures.shapes(*size)) for size in sizes]
    answers = []
    for each in (engine, plain):
        futures = [each.submit_encode(bytes([i]), image) for i, image in enumerate(tiled)]
        while each.step():
            pass
        answers.append([future.result(0) for future in futures])
    for ours, theirs in zip(*answers, strict=True):
        assert torch.equal(ours.features, theirs.features)
        assert ours.scores == theirs.scores


def test_a_picture_cancelled_in_its_pass_is_dropped_and_may_come_again(
    engine: VisionEngine, watched: Watched, tile: Callable[[bytes], TiledImage]
) -> None:
    tiled = tile(pictures.shapes(168, 56))
    cancelled = engine.submit_encode(b"a", tiled)
    assert engine.step()
    assert cancelled.cancel()
    other = engine.submit_encode(b"b", tile(pictures.shapes(56, 56)))
    again = engine.submit_encode(b"a", tiled)
    while engine.step():
        pass
    assert other.result(0).image_key == b"b"
    assert torch.equal(again.result(0).features, watched.encode(tiled.pixels))
    assert (engine.outstanding_tiles, engine.running_images) == (0, 0)
