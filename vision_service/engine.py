"""Owns one device: batches tiles of all pictures through the model, projects on demand.

Synchronous. Any thread submits; one engine thread calls `step` in a loop. Projections go first,
because a language replica waits for each, and they are short. A batch that is not full waits while
pictures are in the decoder, within a bound.
"""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager

import torch

from common.errors import DvdError, InvalidRequestError
from common.model_config import ModelConfig
from vision_service.device_batches import DeviceBatches
from vision_service.encode_passes import EncodePasses, fail_all, require_finite
from vision_service.encode_queue import EncodeQueue
from vision_service.engine_stats import EngineStats
from vision_service.graphed_encode import GraphedEncode
from vision_service.images import EncodedImage, ProjectedImage, TiledImage
from vision_service.project_job import ProjectJob
from vision_service.vision_model import VisionModel


class VisionEngine:
    """Encodes and projects; equal pictures in flight are encoded once.

    Attributes:
        stats: Counters; the engine thread writes, any thread may read.
        on_work: Called after each submission, to wake the engine thread.
    """

    def __init__(
        self,
        model: VisionModel,
        config: ModelConfig,
        max_batch_tiles: int,
        clock: Callable[[], float],
        max_batch_wait_seconds: float = 0.0,
        device: DeviceBatches | None = None,
        graphs: GraphedEncode | None = None,
    ) -> None:
        """Prepare; nothing runs before `step`.

        Args:
            model: Its weights are on the device.
            config: Of the model.
            max_batch_tiles: Most tiles of a pass.
            clock: Time in seconds.
            max_batch_wait_seconds: Longest that a batch waits for pictures in the decoder.
            device: How batches get to the device; None for the usual way.
            graphs: Captured passes, prepared at warm-up; None for none.
        """
        self.stats = EngineStats()
        self.on_work: Callable[[], None] = lambda: None
        self._model = model
        self._config = config
        self._clock = clock
        self._device = device or DeviceBatches(
            model.device, model.dtype, config.vision, max_batch_tiles
        )
        self._queue = EncodeQueue(self._device.max_tiles, max_batch_wait_seconds)
        self._graphs = graphs
        self._passes = EncodePasses(model, self._device, self._queue, self.stats, clock, graphs)
        self._lock = threading.Lock()
        self._projections: list[ProjectJob] = []
        self._probes: list[Future[None]] = []

    @property
    def outstanding_tiles(self) -> int:
        """Tiles, waiting or running, that have no features yet."""
        return self._queue.outstanding_tiles

    @property
    def coming_tiles(self) -> int:
        """Tiles that are about to be submitted."""
        return self._queue.coming_tiles

    @property
    def waiting_images(self) -> int:
        """Pictures of which no batch has taken a tile."""
        return self._queue.waiting_images

    @property
    def running_images(self) -> int:
        """Pictures of which some batch has taken a tile."""
        return self._queue.running_images

    @contextmanager
    def coming(self, num_tiles: int) -> Iterator[None]:
        """Announce tiles that will be submitted within the context, so that a batch may wait."""
        self._queue.expect(num_tiles)
        try:
            yield
        finally:
            self._queue.expect(-num_tiles)
            self.on_work()

    def submit_encode(self, image_key: bytes, tiled: TiledImage) -> Future[EncodedImage]:
        """Queue a picture.

        The future can be cancelled until it has its result: tiles not yet run are dropped before
        the next batch, unless another request waits for the same picture. Timings are those of
        the first request for it.

        Args:
            image_key: Name of the picture and its processing options.
            tiled: The picture.
        """
        waiter = self._queue.submit(image_key, tiled, self._clock())
        self.on_work()
        return waiter

    def submit_project(
        self, encoded: EncodedImage, compressed: tuple[bool, ...], dtype: torch.dtype
    ) -> Future[ProjectedImage]:
        """Queue the projection of an encoded picture.

        Args:
            encoded: The picture.
            compressed: For each tile whether to compress it.
            dtype: Element type of the embeddings.

        Raises:
            InvalidRequestError: The mask does not fit the picture or the model.
        """
        num_tiles = len(encoded.features)
        if len(compressed) != num_tiles:
            message = f"The mask has {len(compressed)} entries, the picture has {num_tiles} tiles."
            raise InvalidRequestError(message, "compressed")
        if any(compressed) and not self._model.has_gate:
            raise InvalidRequestError("This model has no compressed resolution.", "compressed")
        waiter: Future[ProjectedImage] = Future()
        with self._lock:
            self._projections.append(ProjectJob(encoded, compressed, dtype, waiter))
        self.on_work()
        return waiter

    def submit_probe(self) -> Future[None]:
        """Queue one blank tile through everything; it fails as a picture would, and counts as none.

        It goes before whatever waits, so that it tells whether the device works and not how busy
        it is.
        """
        waiter: Future[None] = Future()
        with self._lock:
            self._probes.append(waiter)
        self.on_work()
        return waiter

    def seconds_to_wait(self) -> float | None:
        """When `step` may find work without a further submission; None for never."""
        if not self._queue.waiting_tiles:
            return None
        return self._queue.seconds_to_wait(self._clock())

    def step(self) -> bool:
        """Do all waiting projections, then one batch; False when there was neither to do now.

        What the model raises goes to those who wait for the result. Only a lost device is raised
        here too, because nothing can run on it any more.
        """
        with torch.inference_mode():
            with self._device.beside():
                worked = self._run_probes() | self._run_projections()
            return self._passes.run() or worked

    def warm_up(self) -> None:
        """Run one blank tile through everything, before the engine thread starts.

        Raises:
            DvdError: The model computes something that is not finite.
        """
        with torch.inference_mode():
            self._run_blank_tile()
            if self._graphs is not None:
                self._graphs.prepare()

    def _run_blank_tile(self) -> None:
        side = self._config.vision.tile_size
        pixels = torch.zeros(1, 3, side, side).to(self._model.device, self._model.dtype)
        features = self._model.encode(pixels).contiguous()
        require_finite(self._model.project(features, [False]))
        if self._model.has_gate:
            require_finite(self._model.scores(features))
            require_finite(self._model.project(features, [True]))

    def _run_probes(self) -> bool:
        with self._lock:
            probes, self._probes = self._probes, []
        for waiter in probes:
            try:
                self._run_blank_tile()
            except (RuntimeError, DvdError) as error:
                fail_all([waiter], error)
            else:
                waiter.set_result(None)
        return bool(probes)

    def _run_projections(self) -> bool:
        with self._lock:
            jobs, self._projections = self._projections, []
        for job in jobs:
            if job.waiter.set_running_or_notify_cancel():
                self._answer_projection(job)
        return bool(jobs)

    def _answer_projection(self, job: ProjectJob) -> None:
        try:
            projected = self._project(job)
        except (RuntimeError, DvdError) as error:
            fail_all([job.waiter], error)
        else:
            job.waiter.set_result(projected)

    def _project(self, job: ProjectJob) -> ProjectedImage:
        started_at = self._clock()
        embeddings = self._model.project(job.encoded.features, job.compressed)
        require_finite(embeddings)
        embeddings = self._device.fetch(embeddings.to(job.dtype))
        self.stats.num_projected_tiles += len(job.compressed)
        self.stats.num_compressed_tiles += sum(job.compressed)
        full, fewer = self._config.full_tokens_per_tile, self._config.compressed_tokens_per_tile
        seconds = self._clock() - started_at
        self.stats.project_seconds += seconds
        return ProjectedImage(
            tile_tokens=tuple(fewer if choice else full for choice in job.compressed),
            embeddings=embeddings,
            project_seconds=seconds,
        )
