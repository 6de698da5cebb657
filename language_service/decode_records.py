"""The inputs of a decode step that is replayed: one record of integers a row, in one buffer.

A CUDA graph reads and writes where it did when it was captured, so its inputs have a place for
good, and a step has exactly as many rows as one of the graphs. Rows beyond the answers are padding:
token 0 at position 0, which sees one key, its own, in a block that nobody owns (a row that saw none
would be no number). One copy takes the leading records to the device, whatever the size.

    record    token id | position | slot | keys it sees | block, block, ...

A table of blocks is written only where it has changed since the row's last step.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from language_service.block_tables import BlockTable
from language_service.device_rows import PagedRows

HEADER = 4
# Records are a whole number of 16-byte words, and tables begin at one.
RECORD_MULTIPLE = 16
SIZE_STEP = 8


@dataclass(frozen=True, slots=True)
class DecodeRow:
    """One answer's newest token.

    Attributes:
        token_id: Which.
        position: Its place in the sequence.
        table: Where the sequence's keys and values are.
    """

    token_id: int
    position: int
    table: BlockTable


@dataclass(frozen=True, slots=True)
class StepInputs:
    """What a step of so many rows reads, as views of the buffer on the device.

    Attributes:
        token_ids: [n] int64.
        positions: [n] int64.
        slots: [n] int64.
        rows: What the decode kernel reads.
    """

    token_ids: torch.Tensor
    positions: torch.Tensor
    slots: torch.Tensor
    rows: PagedRows


def graph_sizes(max_rows: int) -> tuple[int, ...]:
    """Numbers of rows that there are graphs for: 1, 2, 4, then every eighth, up to the most."""
    sizes = [1]
    while sizes[-1] < max_rows:
        sizes.append(min(2 * sizes[-1], sizes[-1] + SIZE_STEP))
    return tuple(sizes)


def graph_size(num_rows: int, sizes: Sequence[int]) -> int | None:
    """The smallest graph that takes so many rows; None where none does."""
    return next((size for size in sizes if size >= num_rows), None)


class DecodeRecords:
    """The buffer, on both sides.

    Args:
        max_rows: Most records.
        max_tokens: Longest sequence.
        block_size: Tokens of a block.
        spare_block: The block that nobody owns.
        device: Where steps run.
    """

    def __init__(
        self,
        max_rows: int,
        max_tokens: int,
        block_size: int,
        spare_block: int,
        device: torch.device,
    ) -> None:
        self._block_size = block_size
        self._spare_slot = spare_block * block_size
        max_blocks = -(-max_tokens // block_size)
        width = -(-(HEADER + max_blocks) // RECORD_MULTIPLE) * RECORD_MULTIPLE
        self._host = torch.zeros(
            (max_rows, width), dtype=torch.int32, pin_memory=device.type == "cuda"
        )
        self._records = self._host.numpy()
        self._device = torch.zeros((max_rows, width), dtype=torch.int32, device=device)
        # Lists are compared by identity: a table that changes gets another list.
        self._shown: list[list[int] | None] = [None] * max_rows
        self.fill((), max_rows)
        self.send(max_rows)

    def fill(self, rows: Sequence[DecodeRow], size: int) -> None:
        """Write the records of a step of `size` rows, padding included.

        What the step before was sent must have arrived: its outcome has been read.
        """
        records = self._records
        padding = size - len(rows)
        slots = [row.table.slot(row.position) for row in rows]
        records[:size, 0] = [*(row.token_id for row in rows), *[0] * padding]
        records[:size, 1] = [*(row.position for row in rows), *[0] * padding]
        records[:size, 2] = [*slots, *[self._spare_slot] * padding]
        records[:size, 3] = [*(row.position + 1 for row in rows), *[1] * padding]
        for index, row in enumerate(rows):
            blocks = row.table.blocks
            if self._shown[index] is not blocks:
                records[index, HEADER : HEADER + len(blocks)] = blocks
                self._shown[index] = blocks
        for index in range(len(rows), size):
            records[index, HEADER] = self._spare_slot // self._block_size
            self._shown[index] = None

    def send(self, size: int) -> None:
        """Copy the leading records to the device, behind what was launched before."""
        self._device[:size].copy_(self._host[:size], non_blocking=True)

    def inputs(self, size: int) -> StepInputs:
        """Inputs of a step of `size` rows, read from the device's buffer."""
        header = self._device[:size, :HEADER].t().contiguous()
        token_ids, positions, slots = header[:3].long().unbind(0)
        tables = self._device[:size, HEADER:]
        return StepInputs(
            token_ids, positions, slots, PagedRows(header[3], tables, self._block_size)
        )
