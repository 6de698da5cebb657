"""A step as numbers, so that the other ranks of a group run the very step that the first one plans.

An order is one array of int32, the kind first. A step names for every chunk its place in the cache
and its tokens, so a rank needs to know nothing of requests between steps: nothing is left over when
one ends, and nothing can be forgotten. Visual tokens stand as minus their number; their embeddings
follow the order as one tensor, each row once, in the step that computes it.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from itertools import chain

import numpy as np
import torch

from common.types import SamplingParameters
from language_service.block_tables import BlockTable, SlotCopy
from language_service.prompt import (
    HeldSegment,
    Prompt,
    PromptSegment,
    TextSegment,
    VisualSegment,
    segment_length,
)
from language_service.scheduler import Chunk, StepPlan
from language_service.sequence import Sequence

# What other ranks draw is not used; they draw in the way that costs least.
_SAMPLING = SamplingParameters(max_tokens=1, temperature=0.0, seed=0)


class Order(IntEnum):
    """What the first rank may ask."""

    STEP = 1
    COPY = 2
    CLEAR = 3
    END = 4


@dataclass(frozen=True, slots=True, eq=False)
class EncodedStep:
    """A step on its way.

    Attributes:
        numbers: [n] int32.
        visual: Embeddings that follow, [n, h] each.
    """

    numbers: np.ndarray
    visual: tuple[torch.Tensor, ...]


def encode_copies(copies: Iterable[SlotCopy]) -> np.ndarray:
    """Ask for keys and values to be copied."""
    numbers = chain.from_iterable((c.source, c.destination, c.num_tokens) for c in copies)
    return np.array([Order.COPY, *numbers], dtype=np.int32)


def decode_copies(numbers: np.ndarray) -> tuple[SlotCopy, ...]:
    """The copies of a COPY order."""
    return tuple(SlotCopy(*row) for row in numbers[1:].reshape(-1, 3).tolist())


def encode_clear(table: BlockTable) -> np.ndarray:
    """Ask for a sequence's blocks to be zeroed."""
    return np.array([Order.CLEAR, *table.blocks], dtype=np.int32)


def decode_clear(numbers: np.ndarray, block_size: int) -> BlockTable:
    """The blocks of a CLEAR order."""
    return _table(numbers[1:].tolist(), block_size)


def encode_end() -> np.ndarray:
    """Ask for the end."""
    return np.array([Order.END], dtype=np.int32)


def encode_step(plan: StepPlan) -> EncodedStep:
    """A step whose copies are told apart."""
    numbers: list[int] = []
    visual: list[torch.Tensor] = []
    for chunk in plan.chunks:
        _encode_chunk(chunk, numbers, visual)
    num_visual = sum(len(rows) for rows in visual)
    array = np.array([Order.STEP, num_visual, len(plan.chunks), *numbers], dtype=np.int32)
    return EncodedStep(array, tuple(visual))


def num_visual_rows(numbers: np.ndarray) -> int:
    """Rows of embeddings that follow a STEP order."""
    return int(numbers[1])


def decode_step(numbers: np.ndarray, visual: torch.Tensor, block_size: int) -> StepPlan:
    """The step of a STEP order, for sequences that are known for this step alone.

    Args:
        numbers: The order.
        visual: [n, h], all embeddings that follow it.
        block_size: Of the KV cache.
    """
    values = iter(numbers[3:].tolist())
    embeddings = _Rows(visual)
    chunks = tuple(_decode_chunk(values, embeddings, block_size) for _ in range(int(numbers[2])))
    return StepPlan((), (), chunks)


class _Rows:
    """Hands out rows of a tensor in order."""

    def __init__(self, rows: torch.Tensor) -> None:
        self._rows = rows
        self._begin = 0

    def take(self, num_rows: int) -> torch.Tensor:
        begin, self._begin = self._begin, self._begin + num_rows
        return self._rows[begin : self._begin]


def _encode_chunk(chunk: Chunk, numbers: list[int], visual: list[torch.Tensor]) -> None:
    sequence, table = chunk.sequence, chunk.table
    is_decoding = sequence.is_decoding
    # Most tables are one run, and are told by their first block.
    is_run = table.first_slot >= 0
    numbers += (sequence.num_computed_tokens, chunk.num_tokens, chunk.is_last, is_decoding)
    numbers += (is_run, len(table.blocks))
    numbers += table.blocks[:1] if is_run else table.blocks
    if is_decoding:
        numbers.append(sequence.output_ids[-1])
        return
    segments = sequence.uncomputed(chunk.num_tokens).segments
    numbers.append(len(segments))
    for segment in segments:
        if isinstance(segment, VisualSegment):
            numbers.append(-segment_length(segment))
            visual.append(segment.embeddings)
        elif isinstance(segment, TextSegment):
            numbers.append(len(segment.token_ids))
            numbers += segment.token_ids


def _decode_chunk(values: Iterator[int], embeddings: _Rows, block_size: int) -> Chunk:
    num_past, num_tokens, is_last, is_decoding = (next(values) for _ in range(4))
    is_run, num_blocks = next(values), next(values)
    blocks = [next(values) for _ in range(1 if is_run else num_blocks)]
    if is_run:
        blocks = list(range(blocks[0], blocks[0] + num_blocks))
    past: list[PromptSegment] = [HeldSegment(b"", num_past)]
    if is_decoding:
        output_ids = [next(values)]
    else:
        output_ids = []
        past += [_decode_segment(values, embeddings) for _ in range(next(values))]
    sequence = Sequence("", Prompt(tuple(past)), _SAMPLING)
    sequence.num_computed_tokens, sequence.output_ids = num_past, output_ids
    return Chunk(sequence, _table(blocks, block_size), num_tokens, bool(is_last))


def _decode_segment(values: Iterator[int], embeddings: _Rows) -> PromptSegment:
    length = next(values)
    if length < 0:
        return VisualSegment(embeddings.take(-length))
    return TextSegment(tuple(next(values) for _ in range(length)))


def _table(blocks: list[int], block_size: int) -> BlockTable:
    table = BlockTable([], block_size)
    table.set_blocks(blocks)
    return table
