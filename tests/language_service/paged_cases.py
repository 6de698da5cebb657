"""Rows of answers over a cache whose blocks lie anywhere, for every way to attend to them."""

from dataclasses import dataclass

import torch

from language_service.attention import attend_reference
from language_service.attention_step import AttentionLayer, AttentionSpan, AttentionStep, StepMasks
from language_service.block_tables import KvBlocks
from language_service.device_rows import PagedRows
from language_service.kv_cache import KvCache, KvPlace, KvShape

BLOCK_SIZE = 16


@dataclass(frozen=True, slots=True)
class PagedCase:
    """One row a sequence, and the same as a step of the reference back end.

    Attributes:
        query: [n, heads, d].
        cache: One layer.
        rows: As the kernel reads them.
        step: As the reference reads it.
    """

    query: torch.Tensor
    cache: KvCache
    rows: PagedRows
    step: AttentionStep

    @property
    def keys(self) -> torch.Tensor:
        return self.cache.layer(0)[0]

    @property
    def values(self) -> torch.Tensor:
        return self.cache.layer(0)[1]

    def wanted(self, layer: AttentionLayer) -> torch.Tensor:
        """What the reference makes of it."""
        return attend_reference(self.query, layer, self.step)


def paged_case(
    heads: tuple[int, int, int],
    lengths: list[int],
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> PagedCase:
    """Random keys, values and queries; blocks in random order.

    Args:
        heads: Query heads, key heads, width of a head.
        lengths: Keys of each row.
        dtype: Of everything.
        device: Likewise.
    """
    num_heads, num_kv_heads, head_dim = heads
    generator = torch.Generator().manual_seed(sum(lengths))
    counts = [-(-length // BLOCK_SIZE) for length in lengths]
    cache = KvCache(
        KvShape(1, num_kv_heads, head_dim),
        KvBlocks(sum(counts) * BLOCK_SIZE),
        dtype,
        torch.device(device),
    )
    size = (cache.blocks.num_tokens, num_kv_heads, head_dim)
    keys, values = (torch.randn(size, generator=generator).to(device, dtype) for _ in range(2))
    cache.write(0, torch.arange(size[0], device=device), keys, values)
    order = torch.randperm(sum(counts), generator=generator).split(counts)
    tables = torch.zeros(len(lengths), max(counts), dtype=torch.int32)
    spans = []
    for row, (blocks, length) in enumerate(zip(order, lengths, strict=True)):
        tables[row, : len(blocks)] = blocks
        slots = (blocks[:, None] * BLOCK_SIZE + torch.arange(BLOCK_SIZE)).flatten()[:length]
        spans.append(AttentionSpan(row, row + 1, KvPlace(-1, slots.to(device)), length - 1))
    query = torch.randn(len(lengths), num_heads, head_dim, generator=generator).to(device, dtype)
    rows = PagedRows(
        torch.tensor(lengths, dtype=torch.int32, device=device), tables.to(device), BLOCK_SIZE
    )
    step = AttentionStep(
        cache, torch.empty(0, dtype=torch.int64), tuple(spans), (), StepMasks(query)
    )
    return PagedCase(query, cache, rows, step)
