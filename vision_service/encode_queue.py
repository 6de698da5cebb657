"""Pictures that wait for the vision transformer or are in it, by all threads that submit them."""

import threading
from concurrent.futures import Future
from dataclasses import dataclass

from vision_service.batcher import TileBatcher, TileRun
from vision_service.encode_job import EncodeJob
from vision_service.images import EncodedImage, TiledImage


@dataclass(frozen=True, slots=True)
class BatchPart:
    """The tiles of one picture in a batch.

    Attributes:
        job: The picture.
        run: Which of its tiles.
    """

    job: EncodeJob
    run: TileRun


class EncodeQueue:
    """Thread-safe; a picture that is submitted twice is encoded once."""

    def __init__(self, max_batch_tiles: int, max_wait_seconds: float = 0.0) -> None:
        self._lock = threading.Lock()
        self._batcher = TileBatcher(max_batch_tiles, max_wait_seconds)
        self._coming_tiles = 0
        self._jobs: dict[int, EncodeJob] = {}
        self._by_key: dict[bytes, EncodeJob] = {}
        self._next_id = 0

    @property
    def outstanding_tiles(self) -> int:
        """Tiles, waiting or running, that have no features yet."""
        with self._lock:
            return sum(job.remaining_tiles for job in self._jobs.values())

    @property
    def coming_tiles(self) -> int:
        """Tiles that are about to be submitted."""
        return self._coming_tiles

    @property
    def waiting_tiles(self) -> int:
        """Tiles that no batch has taken yet."""
        with self._lock:
            return self._batcher.waiting_tiles

    @property
    def waiting_images(self) -> int:
        """Pictures of which no batch has taken a tile."""
        with self._lock:
            return sum(not job.is_started for job in self._jobs.values())

    @property
    def running_images(self) -> int:
        """Pictures of which some batch has taken a tile."""
        with self._lock:
            return sum(job.is_started for job in self._jobs.values())

    def submit(self, image_key: bytes, tiled: TiledImage, now: float) -> Future[EncodedImage]:
        """Queue a picture, or join those who wait for the same one already."""
        waiter: Future[EncodedImage] = Future()
        with self._lock:
            job = self._by_key.get(image_key)
            if job is None:
                job = EncodeJob(self._next_id, image_key, tiled, now)
                self._next_id += 1
                self._jobs[job.job_id] = self._by_key[image_key] = job
                self._batcher.add(job.job_id, job.num_tiles, now)
            job.waiters.append(waiter)
        return waiter

    def expect(self, num_tiles: int) -> None:
        """Announce tiles that are about to be submitted, or with a negative number take it back."""
        with self._lock:
            self._coming_tiles += num_tiles

    def seconds_to_wait(self, now: float) -> float:
        """How long the next batch should wait to be filled; 0 to take it now."""
        with self._lock:
            return self._batcher.seconds_to_wait(now, self._coming_tiles)

    def take_batch(self, now: float) -> tuple[BatchPart, ...]:
        """Drop pictures that nobody waits for any more, then take the next batch."""
        with self._lock:
            for job in [job for job in self._jobs.values() if job.is_cancelled]:
                self._remove(job)
            runs = self._batcher.next_batch()
            for run in runs:
                self._jobs[run.job_id].start(now)
            return tuple(BatchPart(self._jobs[run.job_id], run) for run in runs)

    def remove(self, job: EncodeJob) -> list[Future[EncodedImage]]:
        """Take a picture out, done or failed.

        Returns:
            Those who still wait for it; they can no longer cancel.
        """
        with self._lock:
            return self._remove(job)

    def _remove(self, job: EncodeJob) -> list[Future[EncodedImage]]:
        if self._jobs.pop(job.job_id, None) is None:
            # Dropped because nobody waited for it, while a pass still ran on its tiles.
            return []
        self._batcher.cancel(job.job_id)
        del self._by_key[job.image_key]
        # Whoever is notified as running can no longer cancel, so no result meets a cancel.
        return [waiter for waiter in job.waiters if waiter.set_running_or_notify_cancel()]
