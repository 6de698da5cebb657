"""Rows hold every sequence once, none too long, and no row that another had room for."""

from hypothesis import given
from hypothesis import strategies as st

from training.row_packing import pack_rows

LENGTHS = st.lists(st.integers(1, 50), max_size=30)


@given(LENGTHS)
def test_every_sequence_is_in_one_row(lengths: list[int]) -> None:
    rows = pack_rows(lengths)
    assert sorted(number for row in rows for number in row) == list(range(len(lengths)))
    assert all(rows)


@given(LENGTHS)
def test_no_row_is_longer_than_the_longest_sequence(lengths: list[int]) -> None:
    for row in pack_rows(lengths):
        assert sum(lengths[number] for number in row) <= max(lengths)


@given(LENGTHS)
def test_no_two_rows_would_fit_into_one(lengths: list[int]) -> None:
    sums = sorted(sum(lengths[number] for number in row) for row in pack_rows(lengths))
    assert len(sums) < 2 or sums[0] + sums[1] > max(lengths)


def test_rows_by_hand() -> None:
    assert pack_rows([]) == []
    assert pack_rows([3, 10, 6, 4, 3]) == [[1], [2, 3], [0, 4]]
