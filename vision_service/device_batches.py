"""Batches on their way to a device and results on their way back.

On CPU a batch is put together and nothing else; work is done when it is asked for. On CUDA a batch
is put together in page-locked memory and copied on a stream of its own, while the pass before it
runs. Its number of tiles is rounded up to a power of two, so that the device sees a handful of
shapes; the rows added are blank and their results are dropped. Short work runs beside the passes,
on a third stream, and does not wait for them.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from common.model_config import VisionShape

# More rows than these make a CPU's matrix products no faster and its caches miss.
CPU_PASS_PATCHES = 1024


@dataclass(frozen=True, slots=True)
class LoadedBatch:
    """Tiles on the device, or on their way to it.

    Attributes:
        pixels: [N, 3, S, S] of the model's dtype, N at least the number of tiles; blank beyond.
        num_tiles: Tiles that are not blank.
        copied: Happens on CUDA when they are there.
    """

    pixels: torch.Tensor
    num_tiles: int
    copied: torch.cuda.Event | None = None


class Staging:
    """Page-locked memory of one batch, and when it was last copied out of."""

    def __init__(self, size: Sequence[int], dtype: torch.dtype) -> None:
        self.pixels = torch.zeros(tuple(size), dtype=dtype, pin_memory=True)
        self.copied = torch.cuda.Event()  # type: ignore[no-untyped-call]


class DeviceBatches:
    """Moves the batches of one engine; used from its thread alone.

    Attributes:
        max_tiles: Most tiles of one batch.
        overlaps: Whether a pass goes on while the thread does something else.
    """

    def __init__(
        self, device: torch.device, dtype: torch.dtype, shape: VisionShape, max_tiles: int
    ) -> None:
        self._device = device
        self._dtype = dtype
        self.overlaps = device.type == "cuda"
        self.max_tiles = max_tiles if self.overlaps else cpu_tiles(max_tiles, shape.num_patches)
        self._staging: list[Staging] = []
        if self.overlaps:
            size = (bucket(max_tiles), 3, shape.tile_size, shape.tile_size)
            self._staging = [Staging(size, dtype) for _ in range(2)]
            self._copies = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
            # Negative is ahead of the passes, which have the default priority.
            self._beside = torch.cuda.Stream(device, priority=-1)  # type: ignore[no-untyped-call]

    def load(self, tiles: Sequence[torch.Tensor]) -> LoadedBatch:
        """Put tiles together on the device.

        Args:
            tiles: Each [n, 3, S, S] float32; `max_tiles` at most in all.
        """
        num_tiles = sum(map(len, tiles))
        if not self._staging:
            pixels = tiles[0] if len(tiles) == 1 else torch.cat(list(tiles))
            return LoadedBatch(pixels.to(self._dtype), num_tiles)
        self._staging.reverse()
        staging = self._staging[0]
        staging.copied.synchronize()
        batch = staging.pixels[: bucket(num_tiles)]
        batch[num_tiles:].zero_()
        offset = 0
        for part in tiles:
            batch[offset : offset + len(part)].copy_(part)
            offset += len(part)
        with torch.cuda.stream(self._copies):
            pixels = batch.to(self._device, non_blocking=True)
            staging.copied.record()
        return LoadedBatch(pixels, num_tiles, staging.copied)

    def begin(self, batch: LoadedBatch) -> torch.Tensor:
        """Let the pass that is launched next wait for its batch, in place of the thread.

        Returns:
            The batch's pixels.
        """
        if batch.copied is not None:
            passes = torch.cuda.current_stream(self._device)
            passes.wait_event(batch.copied)
            # They are of the other stream's memory, which may have it back only after the pass.
            batch.pixels.record_stream(passes)
        return batch.pixels

    def launched(self) -> torch.cuda.Event | None:
        """Mark the end of the pass that has just been launched; None where it is over."""
        if not self._staging:
            return None
        ended = torch.cuda.Event()  # type: ignore[no-untyped-call]
        ended.record(torch.cuda.current_stream(self._device))
        return ended

    @contextmanager
    def beside(self, results: torch.Tensor | None = None) -> Iterator[None]:
        """Run what is launched in the context beside the passes.

        Args:
            results: Of a pass that has ended, to be read in the context.
        """
        if not self._staging:
            yield
            return
        with torch.cuda.stream(self._beside):
            if results is not None:
                results.record_stream(self._beside)
            yield

    def fetch(self, values: torch.Tensor) -> torch.Tensor:
        """Copy a result to the CPU, contiguous."""
        if not self._staging:
            return values.contiguous()
        fetched = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
        fetched.copy_(values, non_blocking=True)
        torch.cuda.current_stream(self._device).synchronize()
        return fetched


def cpu_tiles(max_tiles: int, patches_per_tile: int) -> int:
    """Most tiles of a batch that fills a CPU."""
    return min(max_tiles, max(1, CPU_PASS_PATCHES // patches_per_tile))


def bucket(num_tiles: int) -> int:
    """Round a number of tiles up to one of the few that a device sees."""
    return 1 << (num_tiles - 1).bit_length()
