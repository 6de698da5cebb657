"""Batches on their way to a device and results on their way back.

On CPU a batch is put together and nothing else. On CUDA it is put together in page-locked memory
and copied without stopping the thread, and its number of tiles is rounded up to a power of two, so
that the device sees a handful of shapes; the rows added are blank and their results are dropped.
"""

from collections.abc import Sequence

import torch

from common.model_config import VisionShape

# More rows than these make a CPU's matrix products no faster and its caches miss.
CPU_PASS_PATCHES = 1024


class DeviceBatches:
    """Moves the batches of one engine; used from its thread alone.

    Attributes:
        max_tiles: Most tiles of one batch.
    """

    def __init__(
        self, device: torch.device, dtype: torch.dtype, shape: VisionShape, max_tiles: int
    ) -> None:
        self._device = device
        self._dtype = dtype
        self._is_cuda = device.type == "cuda"
        self.max_tiles = max_tiles if self._is_cuda else cpu_tiles(max_tiles, shape.num_patches)
        self._pixels = torch.empty(0)
        if self._is_cuda:
            size = (bucket(max_tiles), 3, shape.tile_size, shape.tile_size)
            self._pixels = torch.zeros(size, dtype=dtype, pin_memory=True)

    def load(self, tiles: Sequence[torch.Tensor]) -> torch.Tensor:
        """Put tiles together on the device.

        Args:
            tiles: Each [n, 3, S, S] float32; `max_tiles` at most in all.

        Returns:
            [N, 3, S, S] of the model's dtype, N at least the sum of n; the rest is blank.
        """
        num_tiles = sum(map(len, tiles))
        if not self._is_cuda:
            return (tiles[0] if len(tiles) == 1 else torch.cat(list(tiles))).to(self._dtype)
        # The engine waits for each pass, so nothing is still being copied out of this memory.
        batch = self._pixels[: bucket(num_tiles)]
        batch[num_tiles:].zero_()
        offset = 0
        for part in tiles:
            batch[offset : offset + len(part)].copy_(part)
            offset += len(part)
        return batch.to(self._device, non_blocking=True)

    def wait(self) -> None:
        """Wait until the device has done all that it was given."""
        if self._is_cuda:
            torch.cuda.synchronize(self._device)

    def fetch(self, values: torch.Tensor) -> torch.Tensor:
        """Copy a result to the CPU, contiguous."""
        if not self._is_cuda:
            return values.contiguous()
        fetched = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
        fetched.copy_(values, non_blocking=True)
        self.wait()
        return fetched


def cpu_tiles(max_tiles: int, patches_per_tile: int) -> int:
    """Most tiles of a batch that fills a CPU."""
    return min(max_tiles, max(1, CPU_PASS_PATCHES // patches_per_tile))


def bucket(num_tiles: int) -> int:
    """Round a number of tiles up to one of the few that a device sees."""
    return 1 << (num_tiles - 1).bit_length()
