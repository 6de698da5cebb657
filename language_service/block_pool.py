"""Which blocks of the KV cache are in use, kept for later, or free: counts alone, no tensors.

A block is in use while anybody refers to it. One that nobody refers to may still be kept because
its contents may serve again; the pool takes those whose last use is longest ago when it needs
room. Blocks that follow each other are read through a view and those that begin at a multiple of
a power of two batch well, so such windows are looked for first.
"""

from collections.abc import Callable, Iterable

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

_IN_USE = np.iinfo(np.int64).max


class BlockPool:
    """Reference counts and ages of a fixed number of blocks.

    Args:
        num_blocks: All blocks.
        on_evict: Told of each kept block whose contents are given up.
    """

    def __init__(self, num_blocks: int, on_evict: Callable[[int], None]) -> None:
        self.num_blocks = num_blocks
        self._on_evict = on_evict
        self._references = np.zeros(num_blocks, dtype=np.int64)
        # What it costs to take a block: 0 for a free one, the time of last use for a kept one.
        self._costs = np.zeros(num_blocks, dtype=np.int64)
        self._kept: set[int] = set()
        self._time = 0
        self._num_in_use = 0

    @property
    def num_available(self) -> int:
        """Blocks that nobody refers to."""
        return self.num_blocks - self._num_in_use

    @property
    def num_kept(self) -> int:
        """Blocks whose contents may serve again, in use or not."""
        return len(self._kept)

    def allocate_run(self, num_blocks: int) -> list[int] | None:
        """Take blocks that follow each other and that nobody refers to.

        Returns:
            More than asked for where that fills an aligned window; None where there is no run.
        """
        window = 1 << (num_blocks - 1).bit_length()
        begin = self._aligned_window(window)
        if begin is not None:
            return self._take(range(begin, begin + window))
        begin = self._any_window(num_blocks)
        if begin is not None:
            return self._take(range(begin, begin + num_blocks))
        return None

    def allocate_scattered(self, num_blocks: int) -> list[int] | None:
        """Take blocks wherever they are, free ones first; None where there are too few."""
        if num_blocks > self.num_available:
            return None
        order = np.argsort(self._costs, kind="stable")[:num_blocks]
        return self._take(sorted(order.tolist()))

    def allocate_at(self, begin: int, num_blocks: int) -> list[int] | None:
        """Take exactly these blocks; None where one of them is in use or does not exist."""
        wanted = range(begin, begin + num_blocks)
        if wanted.stop > self.num_blocks or self._references[wanted.start : wanted.stop].any():
            return None
        return self._take(wanted)

    def refer(self, blocks: Iterable[int]) -> None:
        """Refer to blocks once more."""
        for block in blocks:
            if not self._references[block]:
                self._num_in_use += 1
                self._costs[block] = _IN_USE
            self._references[block] += 1

    def release(self, blocks: Iterable[int]) -> None:
        """Give references back; a kept block ages from now on, the first given the fastest."""
        for block in blocks:
            self._references[block] -= 1
            if self._references[block] < 0:
                raise AssertionError(f"block {block} was given back too often")
            if not self._references[block]:
                self._num_in_use -= 1
                self._time += 1
                self._costs[block] = self._time if block in self._kept else 0

    def keep(self, block: int) -> None:
        """Keep the contents of a block that is in use when nobody refers to it any more."""
        self._kept.add(block)

    def discard(self, block: int) -> None:
        """Give up the contents of a block; it is in use, or about to be."""
        if block in self._kept:
            self._kept.discard(block)
            self._on_evict(block)

    def check_integrity(self, references: dict[int, int]) -> None:
        """Compare with references counted elsewhere.

        Args:
            references: How often each block in use is referred to.

        Raises:
            AssertionError: They differ, or the pool contradicts itself.
        """
        counted = {b: int(n) for b, n in enumerate(self._references) if n}
        if counted != references:
            raise AssertionError(f"references are {references}, the pool counts {counted}")
        if self._num_in_use != len(references):
            raise AssertionError(f"{self._num_in_use} of {len(references)} blocks count as in use")
        for block, cost in enumerate(self._costs.tolist()):
            if (cost == _IN_USE) != (block in references):
                raise AssertionError(f"block {block} costs {cost}")
            if block not in references and (cost > 0) != (block in self._kept):
                raise AssertionError(f"block {block} that nobody refers to costs {cost}")

    def _take(self, blocks: Iterable[int]) -> list[int]:
        taken = list(blocks)
        for block in taken:
            self.discard(block)
        self.refer(taken)
        return taken

    def _aligned_window(self, size: int) -> int | None:
        """Begin of the aligned window whose last use is longest ago."""
        number = self.num_blocks // size
        if not number:
            return None
        costs = self._costs[: number * size].reshape(number, size).max(axis=1)
        best = int(costs.argmin())
        return best * size if costs[best] < _IN_USE else None

    def _any_window(self, size: int) -> int | None:
        if size > self.num_blocks:
            return None
        costs = sliding_window_view(self._costs, size).max(axis=1)
        best = int(costs.argmin())
        return best if costs[best] < _IN_USE else None
