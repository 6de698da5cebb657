"""Which answers of a step are attended together: pure arithmetic over places in the cache.

Sequences that begin at equal distances are one batch of a strided view. Shorter ones are padded
to the longest, so a batch ends where the padding would cost more than another call.
"""

from collections.abc import Sequence
from typing import NamedTuple

from language_service.attention_step import AnswerBatch

# Elements of a key that may be read in vain to save a call; about 20 microseconds on a CPU.
MERGE_ELEMENTS = 25_000


class AnswerRow(NamedTuple):
    """One row of an answer; a tuple, because every step makes one for every answer.

    Attributes:
        first_slot: Where its sequence begins in the cache.
        length: Keys that it sees.
        capacity: Slots of its own from the first on.
    """

    first_slot: int
    length: int
    capacity: int


def batch_answers(rows: Sequence[AnswerRow], elements_per_key: int) -> tuple[AnswerBatch, ...]:
    """Put rows together, first fit.

    Args:
        rows: In the order of the step and of their first slots.
        elements_per_key: Width of one token's keys over all heads.
    """
    batches: list[AnswerBatch] = []
    begin = 0
    while begin < len(rows):
        end = _end_of_batch(rows, begin, MERGE_ELEMENTS // elements_per_key)
        stride = rows[begin + 1].first_slot - rows[begin].first_slot if end > begin + 1 else 0
        lengths = tuple(row.length for row in rows[begin:end])
        batches.append(AnswerBatch(begin, rows[begin].first_slot, stride, lengths))
        begin = end
    return tuple(batches)


def _end_of_batch(rows: Sequence[AnswerRow], begin: int, max_padding: int) -> int:
    longest, capacity = rows[begin].length, rows[begin].capacity
    for position in range(begin + 1, len(rows)):
        row, before = rows[position], rows[position - 1]
        stride = rows[begin + 1].first_slot - rows[begin].first_slot
        raised = max(longest, row.length)
        # What the newcomer makes others read in vain, and they it.
        padding = (raised - longest) * (position - begin) + raised - row.length
        capacity = min(capacity, row.capacity)
        if (
            row.first_slot - before.first_slot != stride
            # Nothing behind a sequence's own slots may be read, not even to be masked.
            or raised > capacity
            or padding > max_padding
        ):
            return position
        longest = raised
    return len(rows)
