"""Passes of the vision transformer over tiles of all pictures, and the scores that follow.

Where the device works by itself, the next batch is put together and copied while a pass runs, and
the pass after it is launched before the results of the one before are looked at: the device always
has something to do.
"""

import math
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import torch

from common.errors import DvdError
from vision_service.device_batches import DeviceBatches, LoadedBatch
from vision_service.encode_job import EncodeJob
from vision_service.encode_queue import BatchPart, EncodeQueue
from vision_service.engine_stats import EngineStats
from vision_service.graphed_encode import GraphedEncode
from vision_service.vision_model import VisionModel


@dataclass(frozen=True, slots=True)
class EncodePass:
    """One pass that was launched.

    Attributes:
        parts: What is in it.
        features: [T, P, d]; not to be read before its end.
        ended: Happens at its end; None where it is over.
        began_at: When its tiles were taken, on the engine's clock.
    """

    parts: tuple[BatchPart, ...]
    features: torch.Tensor
    ended: torch.cuda.Event | None
    began_at: float


class EncodePasses:
    """Runs the queued pictures of one engine; used from its thread alone."""

    def __init__(
        self,
        model: VisionModel,
        device: DeviceBatches,
        queue: EncodeQueue,
        stats: EngineStats,
        clock: Callable[[], float],
        graphs: GraphedEncode | None = None,
    ) -> None:
        self._model = model
        self._encode = model.encode if graphs is None else graphs.encode
        self._device = device
        self._queue = queue
        self._stats = stats
        self._clock = clock
        self._running: EncodePass | None = None
        self._taken_at = 0.0
        self._busy_until = 0.0

    def run(self) -> bool:
        """Launch the next pass, if it is time, and hand out the results of the one before.

        Returns:
            Whether there was anything to do.

        Raises:
            torch.AcceleratorError: The device is lost.
        """
        parts = self._take_parts()
        loaded = self._device.load([part.job.pixels(part.run) for part in parts]) if parts else None
        before, self._running = self._running, None
        if before is not None:
            self._wait_for(before)
        if loaded is not None:
            self._running = self._launch(parts, loaded)
        if before is not None:
            self._hand_out(before)
        if self._running is not None and not self._device.overlaps:
            over, self._running = self._running, None
            self._hand_out(over)
        return bool(parts) or before is not None

    def _take_parts(self) -> tuple[BatchPart, ...]:
        self._taken_at = now = self._clock()
        return () if self._queue.seconds_to_wait(now) else self._queue.take_batch(now)

    def _launch(self, parts: tuple[BatchPart, ...], batch: LoadedBatch) -> EncodePass | None:
        try:
            features = self._encode(self._device.begin(batch))[: batch.num_tiles]
            return EncodePass(parts, features, self._device.launched(), self._taken_at)
        except RuntimeError as error:
            self._fail(parts, error)
            return None

    def _wait_for(self, running: EncodePass) -> None:
        if running.ended is None:
            return
        try:
            running.ended.synchronize()
        except RuntimeError as error:
            # What fails on the device is told here, and the device is lost.
            self._fail(running.parts, error)
            raise

    def _hand_out(self, over: EncodePass) -> None:
        """Give every picture its features, and finish those that have all."""
        now = self._clock()
        with self._device.beside(over.features):
            shares = torch.split(over.features, [part.run.num_tiles for part in over.parts])
            for part, share in zip(over.parts, shares, strict=True):
                part.job.keep(part.run, share, now)
            self._stats.num_batches += 1
            self._stats.num_tiles += len(over.features)
            self._stats.batch_tiles.note(len(over.features))
            # Passes overlap; no time is counted twice.
            self._stats.busy_seconds += now - max(over.began_at, self._busy_until)
            self._busy_until = now
            for part in over.parts:
                if not part.job.remaining_tiles:
                    self._finish(part.job)

    def _finish(self, job: EncodeJob) -> None:
        """Score a picture whose last tile is done, and answer all who wait for it."""
        try:
            encoded = job.result(self._score(job.features), self._clock())
        except (RuntimeError, DvdError) as error:
            fail_all(self._queue.remove(job), error)
        else:
            for waiter in self._queue.remove(job):
                waiter.set_result(encoded)

    def _score(self, features: torch.Tensor) -> list[float]:
        require_finite(features)
        if not self._model.has_gate:
            return []
        began_at = self._clock()
        scores: list[float] = self._model.scores(features).tolist()
        self._stats.gate_seconds += self._clock() - began_at
        self._stats.num_gate_rows += len(scores)
        self._stats.num_unscored_tiles += sum(map(math.isnan, scores))
        return scores

    def _fail(self, parts: tuple[BatchPart, ...], error: RuntimeError) -> None:
        fail_all([waiter for part in parts for waiter in self._queue.remove(part.job)], error)


def require_finite(values: torch.Tensor) -> None:
    """Refuse to go on with numbers that are none.

    Raises:
        DvdError: Some value is infinite or not a number.
    """
    if not bool(torch.isfinite(values).all()):
        raise DvdError("The vision model computed values that are not finite.")


def fail_all(waiters: Iterable[Future[Any]], error: Exception) -> None:
    """Tell all who wait for a result that there is none.

    Raises:
        torch.AcceleratorError: The error is that the device is lost: nothing can run on it.
    """
    for waiter in waiters:
        waiter.set_exception(error)
    if isinstance(error, torch.AcceleratorError):
        raise error
