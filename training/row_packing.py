"""Which sequences share a row of a batch."""

from collections.abc import Sequence


def pack_rows(lengths: Sequence[int]) -> list[list[int]]:
    """Put sequences into as few rows as first fit finds, none longer than the longest sequence.

    Args:
        lengths: Of each sequence, in tokens.

    Returns:
        The numbers of the sequences in each row; the longest come first.
    """
    capacity = max(lengths, default=0)
    rows: list[list[int]] = []
    room: list[int] = []
    for number in sorted(range(len(lengths)), key=lambda each: -lengths[each]):
        length = lengths[number]
        row = next((index for index, left in enumerate(room) if left >= length), None)
        if row is None:
            rows.append([])
            room.append(capacity)
            row = len(rows) - 1
        rows[row].append(number)
        room[row] -= length
    return rows
