"""What attention on a GPU must know about a step, as tensors there.

The leading rows of a step are answers whose sequences lie in one run each: they go through the
decode kernel, which reads block tables. All other rows are prompts, packed behind each other. The
numbers of both travel to the device in the step's one copy: `RowsLayout` says which, and makes
tensors of them once they are there.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from language_service.kv_cache import KvPlace

# Widths of tables are rounded up, so that the kernel is compiled for one kind of width.
TABLE_MULTIPLE = 16


@dataclass(frozen=True, slots=True)
class PagedRows:
    """Rows of one token each, as the decode kernel reads them; all on the device.

    Attributes:
        lengths: [n] int32, keys that each row sees without a window; at least 1.
        block_tables: [n, m] int32, blocks of each row's sequence in order; what lies beyond its
            length is not read.
        block_size: Tokens of a block.
    """

    lengths: torch.Tensor
    block_tables: torch.Tensor
    block_size: int


@dataclass(frozen=True, slots=True)
class PackedSequences:
    """Where packed sequences begin and end; at least one, none without a query.

    Attributes:
        query_ends: One past each sequence's last query, in order.
        key_ends: Likewise of its keys.
        query_offsets: [n + 1] int32 on the device: 0 and `query_ends`.
        key_offsets: Likewise.
    """

    query_ends: tuple[int, ...]
    key_ends: tuple[int, ...]
    query_offsets: torch.Tensor
    key_offsets: torch.Tensor

    @property
    def max_queries(self) -> int:
        """Most queries of a sequence."""
        return _longest(self.query_ends)

    @property
    def max_keys(self) -> int:
        """Most keys of a sequence."""
        return _longest(self.key_ends)


@dataclass(frozen=True, slots=True)
class DeviceRows:
    """The rows of a step.

    Attributes:
        answers: The leading rows; None for none.
        prompts: The others; None for none.
        prompt_slots: [K] int64, slots of all keys of the prompts in order; None where the only
            prompt is a run from `first_slot`.
        first_slot: See there.
    """

    answers: PagedRows | None
    prompts: PackedSequences | None
    prompt_slots: torch.Tensor | None = None
    first_slot: int = 0


@dataclass(frozen=True, slots=True)
class SequenceRows:
    """The rows of one sequence within a step.

    Attributes:
        num_rows: How many.
        length: Keys that the last one sees.
        place: Where they are.
    """

    num_rows: int
    length: int
    place: KvPlace


class RowsLayout:
    """The numbers of a step's `DeviceRows`, on their way to the device.

    Args:
        sequences: In the order of their rows, answers first.
        num_answers: Leading sequences of one row each that lie in one run.
        block_size: Tokens of a block.
    """

    def __init__(
        self, sequences: Sequence[SequenceRows], num_answers: int, block_size: int
    ) -> None:
        self._answers, self._prompts = sequences[:num_answers], sequences[num_answers:]
        self._block_size = block_size
        self._query_ends = _ends([each.num_rows for each in self._prompts])
        self._key_ends = _ends([each.length for each in self._prompts])
        lengths = [each.length for each in self._answers]
        first_blocks = [each.place.first_slot // block_size for each in self._answers]
        self.numbers = [*lengths, *first_blocks, 0, *self._query_ends, 0, *self._key_ends]
        """What must be copied to the device; integers below 2^31."""

    def rows(self, numbers: torch.Tensor) -> DeviceRows:
        """Make tensors of `numbers` as they have come, in any type of integer."""
        num_answers, num_prompts = len(self._answers), len(self._prompts)
        sizes = [num_answers, num_answers, num_prompts + 1, num_prompts + 1]
        lengths, first_blocks, query_offsets, key_offsets = (
            part.clone() for part in torch.split(numbers.int(), sizes)
        )
        answers = self._paged(lengths, first_blocks) if num_answers else None
        if not num_prompts:
            return DeviceRows(answers, None)
        prompts = PackedSequences(self._query_ends, self._key_ends, query_offsets, key_offsets)
        place = self._prompts[0].place
        if num_prompts == 1 and place.slots is None:
            return DeviceRows(answers, prompts, None, place.first_slot)
        slots = torch.cat([_slots(each, numbers.device) for each in self._prompts])
        return DeviceRows(answers, prompts, slots)

    def _paged(self, lengths: torch.Tensor, first_blocks: torch.Tensor) -> PagedRows:
        longest = max(each.length for each in self._answers)
        width = -(-longest // (self._block_size * TABLE_MULTIPLE)) * TABLE_MULTIPLE
        offsets = torch.arange(width, dtype=torch.int32, device=lengths.device)
        return PagedRows(lengths, first_blocks[:, None] + offsets, self._block_size)


def _slots(sequence: SequenceRows, device: torch.device) -> torch.Tensor:
    place, length = sequence.place, sequence.length
    if place.slots is not None:
        return place.slots[:length]
    return torch.arange(place.first_slot, place.first_slot + length, device=device)


def _ends(sizes: Sequence[int]) -> tuple[int, ...]:
    ends, end = [], 0
    for size in sizes:
        end += size
        ends.append(end)
    return tuple(ends)


def _longest(ends: tuple[int, ...]) -> int:
    return max(end - begin for begin, end in zip((0, *ends), ends, strict=False))
