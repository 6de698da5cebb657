"""The engine on a real model: same results in any company, nobody waits for ever."""

import math
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError
from contextlib import suppress

import pytest
import torch
from torch import nn

from common.config import ImageLimits
from common.engine_thread import EngineThread
from common.errors import DvdError, InvalidRequestError
from common.model_config import ModelConfig
from common.tensor_codec import tensor_bytes
from tests import pictures
from vision_service.engine import VisionEngine
from vision_service.images import EncodedImage, TiledImage
from vision_service.preprocess import Preprocessor
from vision_service.vision_model import VisionModel


class Clock:
    """Ticks once a reading."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


class FaultyModel(nn.Module):
    """The real model, but for one stage that raises or breaks its numbers while it is told to."""

    device, dtype = torch.device("cpu"), torch.float32

    def __init__(self, model: VisionModel, stage: str, error: Exception | None = None) -> None:
        super().__init__()
        self.model, self.stage, self.error, self.broken = model, stage, error, True
        self.has_gate = model.has_gate

    def __getattr__(self, name: str) -> object:
        if name not in ("encode", "scores", "project"):
            return super().__getattr__(name)

        def run(*arguments: object) -> torch.Tensor:
            result = getattr(self.model, name)(*arguments)
            if not self.broken or name != self.stage:
                return result
            if self.error is not None:
                raise self.error
            return result.clone().index_fill_(0, torch.tensor([0]), float("nan"))

        return run


@pytest.fixture(scope="module")
def tile(config: ModelConfig) -> Callable[[bytes], TiledImage]:
    return Preprocessor(config, ImageLimits()).tile


@pytest.fixture
def engine(model: VisionModel, config: ModelConfig) -> VisionEngine:
    return VisionEngine(model, config, max_batch_tiles=4, clock=Clock())


def drain(engine: VisionEngine) -> None:
    while engine.step():
        pass


def encode_alone(model: VisionModel, config: ModelConfig, tiled: TiledImage) -> EncodedImage:
    engine = VisionEngine(model, config, max_batch_tiles=64, clock=Clock())
    future = engine.submit_encode(b"alone", tiled)
    drain(engine)
    return future.result(0)


def test_nothing_to_do(engine: VisionEngine) -> None:
    assert not engine.step()


def test_results_do_not_depend_on_neighbours(
    engine: VisionEngine,
    model: VisionModel,
    config: ModelConfig,
    tile: Callable[[bytes], TiledImage],
) -> None:
    sizes = [(56, 56), (224, 112), (112, 56), (224, 168), (60, 50)]
    tiled = [tile(pictures.shapes(*size)) for size in sizes] + [tile(pictures.half_blank(224, 112))]
    futures = [engine.submit_encode(bytes([i]), image) for i, image in enumerate(tiled)]
    drain(engine)
    for image, future in zip(tiled, futures, strict=True):
        alone, shared = encode_alone(model, config, image), future.result(0)
        assert torch.equal(shared.features, alone.features)
        assert shared.scores == alone.scores
        assert len(shared.scores) == len(shared.features) == image.grid.num_tiles


def test_equal_tiles_run_once_and_tie(
    engine: VisionEngine, model: VisionModel, tile: Callable[[bytes], TiledImage]
) -> None:
    tiled = tile(pictures.half_blank(224, 112))
    future = engine.submit_encode(b"a", tiled)
    assert engine.outstanding_tiles == 6
    drain(engine)
    encoded = future.result(0)
    assert torch.equal(encoded.features, model.encode(tiled.pixels))
    assert [encoded.scores[i] for i in (3, 6, 7)] == [encoded.scores[2]] * 3
    assert (engine.stats.num_tiles, engine.stats.num_gate_rows) == (6, 6)


def test_a_small_picture_overtakes_a_large_one(
    engine: VisionEngine, tile: Callable[[bytes], TiledImage]
) -> None:
    large = engine.submit_encode(b"a", tile(pictures.shapes(224, 168)))
    small = engine.submit_encode(b"b", tile(pictures.shapes(56, 56)))
    engine.step()
    assert (small.done(), large.done()) == (True, False)
    assert (engine.outstanding_tiles, engine.running_images, engine.waiting_images) == (10, 1, 0)


def test_equal_pictures_in_flight_are_encoded_once(
    engine: VisionEngine, tile: Callable[[bytes], TiledImage]
) -> None:
    tiled = tile(pictures.shapes(112, 112))
    one, other = (engine.submit_encode(b"a", tiled) for _ in range(2))
    drain(engine)
    assert one.result(0) is other.result(0)
    assert engine.stats.num_tiles == 5


def test_projections_go_first_and_have_exact_tokens(
    engine: VisionEngine, model: VisionModel, tile: Callable[[bytes], TiledImage]
) -> None:
    future = engine.submit_encode(b"a", tile(pictures.shapes(112, 112)))
    drain(engine)
    encoded, mask = future.result(0), (True, False, False, True, False)
    engine.submit_encode(b"b", tile(pictures.shapes(56, 56)))
    projected = engine.submit_project(encoded, mask, torch.float32)
    engine.step()
    assert projected.result(0).tile_tokens == (4, 16, 16, 4, 16)
    assert torch.equal(projected.result(0).embeddings, model.project(encoded.features, mask))
    assert (engine.stats.num_projected_tiles, engine.stats.num_compressed_tiles) == (5, 2)


@pytest.mark.parametrize(("dtype", "element_bytes"), [(torch.float32, 4), (torch.bfloat16, 2)])
def test_embeddings_are_ready_for_the_wire(
    engine: VisionEngine,
    tile: Callable[[bytes], TiledImage],
    dtype: torch.dtype,
    element_bytes: int,
) -> None:
    future = engine.submit_encode(b"a", tile(pictures.shapes(56, 56)))
    drain(engine)
    projected = engine.submit_project(future.result(0), (False,), dtype)
    drain(engine)
    assert projected.result(0).embeddings.dtype == dtype
    assert len(tensor_bytes(projected.result(0).embeddings)) == 16 * 24 * element_bytes


def test_it_counts_what_it_has_done_and_the_time_it_took(
    engine: VisionEngine, tile: Callable[[bytes], TiledImage]
) -> None:
    engine.submit_encode(b"a", tile(pictures.shapes(224, 112)))
    drain(engine)
    stats = engine.stats
    first = stats.busy_seconds
    assert stats.num_tiles > 0
    assert first > 0
    drain(engine)
    assert stats.busy_seconds == first


def test_timings_add_up(engine: VisionEngine, tile: Callable[[bytes], TiledImage]) -> None:
    future = engine.submit_encode(b"a", tile(pictures.shapes(112, 112)))
    drain(engine)
    timings = future.result(0).timings
    # The clock ticks before the gate and behind it, too.
    assert (timings.queue_seconds, timings.vit_seconds, timings.gate_seconds) == (1, 3, 3)


def test_a_model_without_a_gate_has_no_scores(
    plain_model: VisionModel, plain_config: ModelConfig, tile: Callable[[bytes], TiledImage]
) -> None:
    engine = VisionEngine(plain_model, plain_config, max_batch_tiles=4, clock=Clock())
    engine.warm_up()
    future = engine.submit_encode(b"a", tile(pictures.shapes(56, 56)))
    drain(engine)
    assert future.result(0).scores == ()
    with pytest.raises(InvalidRequestError) as caught:
        engine.submit_project(future.result(0), (True,), torch.float32)
    assert caught.value.field == "compressed"


def test_a_mask_of_another_length_is_refused(
    engine: VisionEngine, tile: Callable[[bytes], TiledImage]
) -> None:
    future = engine.submit_encode(b"a", tile(pictures.shapes(56, 56)))
    drain(engine)
    with pytest.raises(InvalidRequestError, match="2 entries, the picture has 1 tiles"):
        engine.submit_project(future.result(0), (False, False), torch.float32)


def test_a_cancelled_picture_costs_no_further_batch(
    engine: VisionEngine, tile: Callable[[bytes], TiledImage]
) -> None:
    future = engine.submit_encode(b"a", tile(pictures.shapes(224, 168)))
    engine.step()
    assert future.cancel()
    assert not engine.step()
    assert engine.outstanding_tiles == engine.running_images == 0
    assert engine.stats.num_tiles == 4


def test_a_cancelled_projection_does_not_run(
    engine: VisionEngine, tile: Callable[[bytes], TiledImage]
) -> None:
    future = engine.submit_encode(b"a", tile(pictures.shapes(56, 56)))
    drain(engine)
    projected = engine.submit_project(future.result(0), (False,), torch.float32)
    assert projected.cancel()
    drain(engine)
    assert engine.stats.num_projected_tiles == 0


FAULTS = [
    (stage, error)
    for stage in ("encode", "scores", "project")
    for error in (RuntimeError("shape"), torch.OutOfMemoryError("full"), None)
    if (stage, error) != ("scores", None)  # a tile without a score is no failure
]


@pytest.mark.parametrize(("stage", "error"), FAULTS)
def test_a_failure_reaches_those_who_wait_and_the_engine_goes_on(
    model: VisionModel,
    config: ModelConfig,
    tile: Callable[[bytes], TiledImage],
    stage: str,
    error: Exception | None,
) -> None:
    faulty = FaultyModel(model, stage, error)
    engine = VisionEngine(faulty, config, max_batch_tiles=4, clock=Clock())
    tiled = tile(pictures.shapes(56, 56))
    encoded = encode_alone(model, config, tiled)
    failing = [engine.submit_encode(b"a", tiled)]
    if stage == "project":
        failing = [engine.submit_project(encoded, (False,), torch.float32)]
    drain(engine)
    expected = DvdError if error is None else type(error)
    assert isinstance(failing[0].exception(0), expected)
    faulty.broken = False
    again = engine.submit_encode(b"a", tiled)
    drain(engine)
    assert torch.equal(again.result(0).features, encoded.features)
    assert engine.outstanding_tiles == engine.running_images == 0


def test_a_score_that_is_no_number_is_passed_on_and_counted(
    model: VisionModel, config: ModelConfig, tile: Callable[[bytes], TiledImage]
) -> None:
    engine = VisionEngine(FaultyModel(model, "scores"), config, max_batch_tiles=8, clock=Clock())
    tiled = tile(pictures.shapes(112, 112))
    future = engine.submit_encode(b"a", tiled)
    drain(engine)
    first, *others = future.result(0).scores
    assert math.isnan(first)
    assert tuple(others) == encode_alone(model, config, tiled).scores[1:]
    assert (engine.stats.num_gate_rows, engine.stats.num_unscored_tiles) == (5, 1)


def test_a_batch_that_is_not_full_waits_for_what_is_being_decoded(
    model: VisionModel, config: ModelConfig, tile: Callable[[bytes], TiledImage]
) -> None:
    engine = VisionEngine(model, config, 4, Clock(), max_batch_wait_seconds=1000)
    future = engine.submit_encode(b"a", tile(pictures.shapes(56, 56)))
    with engine.coming(1):
        assert not engine.step()
        assert engine.seconds_to_wait() == pytest.approx(998)
        other = engine.submit_encode(b"b", tile(pictures.shapes(56, 50)))
        assert not engine.step()
    assert engine.seconds_to_wait() == 0
    assert engine.step()
    assert (future.done(), other.done(), engine.stats.num_batches) == (True, True, 1)


def test_a_batch_that_comes_due_between_two_looks_is_not_slept_through(
    model: VisionModel, config: ModelConfig, tile: Callable[[bytes], TiledImage]
) -> None:
    engine = VisionEngine(model, config, 4, Clock(), max_batch_wait_seconds=1.5)
    assert engine.seconds_to_wait() is None
    engine.submit_encode(b"a", tile(pictures.shapes(56, 56)))
    with engine.coming(1):
        assert not engine.step()
        assert engine.seconds_to_wait() == 0
        assert engine.step()


def test_a_decoder_that_ends_without_a_picture_wakes_the_engine(engine: VisionEngine) -> None:
    woken: list[int] = []
    engine.on_work = lambda: woken.append(engine.coming_tiles)
    with suppress(ValueError), engine.coming(3):
        assert engine.coming_tiles == 3
        raise ValueError("damaged")
    assert woken == [0]


def test_numbers_that_break_in_one_picture_fail_only_that_one(
    model: VisionModel, config: ModelConfig, tile: Callable[[bytes], TiledImage]
) -> None:
    engine = VisionEngine(FaultyModel(model, "encode"), config, max_batch_tiles=4, clock=Clock())
    futures = [
        engine.submit_encode(bytes([i]), tile(pictures.shapes(56, 50 + i))) for i in range(3)
    ]
    engine.step()
    assert [type(future.exception(0)) for future in futures] == [DvdError, type(None), type(None)]


def test_broken_features_are_found_without_a_gate_too(
    plain_model: VisionModel, plain_config: ModelConfig, tile: Callable[[bytes], TiledImage]
) -> None:
    engine = VisionEngine(FaultyModel(plain_model, "encode"), plain_config, 4, Clock())
    future = engine.submit_encode(b"a", tile(pictures.shapes(56, 56)))
    engine.step()
    assert isinstance(future.exception(0), DvdError)


def test_a_lost_device_ends_the_engine_after_telling_those_who_wait(
    model: VisionModel, config: ModelConfig, tile: Callable[[bytes], TiledImage]
) -> None:
    lost = torch.AcceleratorError("device-side assert")
    engine = VisionEngine(FaultyModel(model, "encode", lost), config, 4, Clock())
    futures = [engine.submit_encode(bytes([i]), tile(pictures.shapes(56, 56))) for i in range(2)]
    with pytest.raises(torch.AcceleratorError):
        engine.step()
    assert [future.exception(0) for future in futures] == [lost, lost]


@pytest.mark.parametrize("stage", ["scores", "project"])
def test_warm_up_finds_a_broken_model(model: VisionModel, config: ModelConfig, stage: str) -> None:
    engine = VisionEngine(FaultyModel(model, stage), config, 4, Clock())
    with pytest.raises(DvdError, match="not finite"):
        engine.warm_up()


def test_warm_up_does_not_count(engine: VisionEngine) -> None:
    engine.warm_up()
    assert engine.stats.num_batches == engine.stats.num_gate_rows == 0


def test_many_threads_and_one_engine_thread(
    model: VisionModel, config: ModelConfig, tile: Callable[[bytes], TiledImage]
) -> None:
    engine = VisionEngine(model, config, max_batch_tiles=4, clock=Clock())
    thread = EngineThread("engine", engine.step, lambda: None)
    engine.on_work = thread.wake
    thread.start()
    tiled = [tile(pictures.shapes(56 * (1 + i % 3), 56)) for i in range(6)]
    results: dict[int, tuple[float, ...]] = {}

    def client(index: int) -> None:
        for turn in range(5):
            key = index * 5 + turn
            future = engine.submit_encode(bytes([key]), tiled[key % 6])
            if key % 7 == 3 and future.cancel():
                with pytest.raises(CancelledError):
                    future.result(30)
                continue
            encoded = future.result(30)
            mask = (False,) * len(encoded.scores)
            engine.submit_project(encoded, mask, torch.float32).result(30)
            results[key] = encoded.scores

    clients = [threading.Thread(target=client, args=(index,)) for index in range(6)]
    for each in clients:
        each.start()
    for each in clients:
        each.join()
    thread.stop()
    expected = [encode_alone(model, config, image).scores for image in tiled]
    assert {key: expected[key % 6] for key in results} == results
    assert len(results) >= 25
    drain(engine)  # a picture that is cancelled last is dropped by the next batch, if there is one
    assert engine.outstanding_tiles == 0


@pytest.mark.parametrize("stage", ["encode", "scores", "project"])
def test_mode_6_a_probe_fails_where_a_picture_would(
    model: VisionModel, config: ModelConfig, stage: str
) -> None:
    engine = VisionEngine(FaultyModel(model, stage), config, 4, Clock())
    probe = engine.submit_probe()
    assert engine.step()
    with pytest.raises(DvdError, match="not finite"):
        probe.result(0)


def test_a_probe_passes_counts_as_no_picture_and_goes_before_those_that_wait(
    engine: VisionEngine,
) -> None:
    probe = engine.submit_probe()
    assert not probe.done()
    assert engine.step()
    assert probe.result(0) is None
    assert (engine.stats.num_tiles, engine.stats.num_projected_tiles) == (0, 0)
    assert not engine.step()
