"""What a replayed step reads: sizes, padding, tables that change, and one copy of it all."""

import pytest
import torch

from language_service.block_tables import BlockTable
from language_service.decode_records import DecodeRecords, DecodeRow, graph_size, graph_sizes

CPU = torch.device("cpu")
SPARE_BLOCK = 9


def table(blocks: list[int]) -> BlockTable:
    made = BlockTable([], 4)
    made.set_blocks(blocks)
    return made


@pytest.mark.parametrize(
    ("max_rows", "sizes"),
    [
        (1, (1,)),
        (3, (1, 2, 4)),
        (8, (1, 2, 4, 8)),
        (9, (1, 2, 4, 8, 16)),
        (32, (1, 2, 4, 8, 16, 24, 32)),
    ],
)
def test_sizes_double_and_then_go_by_eights(max_rows: int, sizes: tuple[int, ...]) -> None:
    assert graph_sizes(max_rows) == sizes


def test_a_step_takes_the_next_larger_size() -> None:
    sizes = graph_sizes(32)
    taken = [graph_size(rows, sizes) for rows in (1, 2, 3, 8, 9, 25, 32)]
    assert taken == [1, 2, 4, 8, 16, 32, 32]
    assert graph_size(33, sizes) is None
    assert graph_size(1, ()) is None


def test_rows_are_sent_with_padding_behind_them() -> None:
    records = DecodeRecords(8, 40, 4, SPARE_BLOCK, CPU)
    records.fill([DecodeRow(7, 5, table([3, 4])), DecodeRow(8, 9, table([6, 2, 1]))], 4)
    records.send(4)
    inputs = records.inputs(4)
    assert inputs.token_ids.tolist() == [7, 8, 0, 0]
    assert inputs.positions.tolist() == [5, 9, 0, 0]
    assert inputs.slots.tolist() == [4 * 4 + 1, 1 * 4 + 1, SPARE_BLOCK * 4, SPARE_BLOCK * 4]
    assert inputs.rows.lengths.tolist() == [6, 10, 1, 1]
    assert inputs.rows.block_tables[:, 0].tolist() == [3, 6, SPARE_BLOCK, SPARE_BLOCK]
    assert inputs.rows.block_tables[1, :3].tolist() == [6, 2, 1]
    assert inputs.rows.block_tables.shape[1] >= 10


def test_what_is_beyond_the_step_is_not_sent() -> None:
    records = DecodeRecords(4, 40, 4, SPARE_BLOCK, CPU)
    records.fill([DecodeRow(number, 0, table([number])) for number in (1, 2, 3)], 4)
    records.send(2)
    assert records.inputs(4).token_ids.tolist() == [1, 2, 0, 0]


def test_tables_are_written_again_when_they_or_their_rows_change() -> None:
    records = DecodeRecords(2, 40, 4, SPARE_BLOCK, CPU)
    first, second = table([1]), table([2, 3])

    def tables(*rows: BlockTable, size: int = 2) -> list[list[int]]:
        records.fill([DecodeRow(0, 0, each) for each in rows], size)
        records.send(size)
        return records.inputs(size).rows.block_tables[:, :2].tolist()

    assert tables(first, second)[1] == [2, 3]
    first.set_blocks([1, 5])
    assert tables(first, second) == [[1, 5], [2, 3]]
    assert tables(second, first) == [[2, 3], [1, 5]]
    assert tables(second)[1][0] == SPARE_BLOCK
    assert tables(second, first) == [[2, 3], [1, 5]]


def test_before_the_first_step_all_rows_are_padding() -> None:
    inputs = DecodeRecords(4, 40, 4, SPARE_BLOCK, CPU).inputs(4)
    assert inputs.rows.lengths.tolist() == [1] * 4
    assert inputs.slots.tolist() == [SPARE_BLOCK * 4] * 4
