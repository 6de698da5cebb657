"""Which answers share a call, and that nobody reads beyond their own slots."""

from hypothesis import given
from hypothesis import strategies as st

from language_service.answer_batches import MERGE_ELEMENTS, AnswerRow, batch_answers

WIDTH = 250
MAX_PADDING = MERGE_ELEMENTS // WIDTH


def shape(*rows: tuple[int, int, int]) -> list[tuple[int, int, tuple[int, ...]]]:
    batches = batch_answers([AnswerRow(*row) for row in rows], WIDTH)
    return [(each.first_slot, each.stride, each.lengths) for each in batches]


def test_equal_distances_are_one_batch() -> None:
    assert shape((0, 9, 64), (64, 12, 64), (128, 10, 64)) == [(0, 64, (9, 12, 10))]


def test_another_distance_begins_another_batch() -> None:
    assert shape((0, 9, 64), (64, 9, 64), (192, 9, 64), (320, 9, 64)) == [
        (0, 64, (9, 9)),
        (192, 128, (9, 9)),
    ]


def test_a_row_alone_is_a_batch() -> None:
    assert shape((32, 5, 16)) == [(32, 0, (5,))]
    assert shape() == []


def test_padding_that_costs_more_than_a_call_is_not_made() -> None:
    longer = 10 + MAX_PADDING
    assert shape((0, 10, 1024), (1024, longer, 1024)) == [(0, 1024, (10, longer))]
    assert len(shape((0, 10, 1024), (1024, longer + 1, 1024))) == 2


def test_nobody_is_read_beyond_its_own_slots() -> None:
    assert len(shape((0, 9, 16), (64, 17, 64))) == 2
    assert len(shape((0, 9, 17), (64, 17, 64))) == 1


ROWS = st.lists(
    st.tuples(st.integers(1, 8), st.integers(1, 8), st.integers(1, 128)), min_size=1, max_size=20
)


@given(ROWS)
def test_every_row_is_in_one_batch_and_within_its_slots(sizes: list[tuple[int, int, int]]) -> None:
    rows, begin = [], 0
    for gap, blocks, length in sizes:
        capacity = blocks * 16
        rows.append(AnswerRow(begin, min(length, capacity), capacity))
        begin += capacity + (gap - 1) * 16
    seen = []
    for batch in batch_answers(rows, WIDTH):
        assert batch.begin == len(seen)
        for index, length in enumerate(batch.lengths):
            row = rows[batch.begin + index]
            assert row.first_slot == batch.first_slot + index * batch.stride
            assert max(batch.lengths) <= row.capacity
            seen.append(length)
    assert seen == [row.length for row in rows]
