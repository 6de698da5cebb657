"""A step that has gone over the wire is the step that was planned."""

import numpy as np
import torch

from common.types import SamplingParameters
from language_service.block_tables import BlockTable, SlotCopy
from language_service.prompt import Prompt, TextSegment, VisualSegment
from language_service.scheduler import Chunk, StepPlan
from language_service.sequence import Sequence
from language_service.step_wire import (
    Order,
    decode_clear,
    decode_copies,
    decode_step,
    encode_clear,
    encode_copies,
    encode_step,
    num_visual_rows,
)

BLOCK_SIZE = 4
SAMPLING = SamplingParameters(max_tokens=9, temperature=0.7, seed=3, top_k=5)
PICTURE = torch.arange(12.0).view(6, 2)


def table(*blocks: int) -> BlockTable:
    made = BlockTable([], BLOCK_SIZE)
    made.set_blocks(list(blocks))
    return made


def sequence(num_computed_tokens: int, *output_ids: int) -> Sequence:
    """Three ids, six visual tokens, two ids, and an answer."""
    prompt = Prompt((TextSegment((1, 2, 3)), VisualSegment(PICTURE, b"cat"), TextSegment((4, 5))))
    made = Sequence("r", prompt, SAMPLING, num_computed_tokens=num_computed_tokens)
    made.output_ids = list(output_ids)
    return made


def sent(*chunks: Chunk) -> tuple[Chunk, ...]:
    encoded = encode_step(StepPlan((), (), chunks))
    assert encoded.numbers.dtype == np.int32
    assert encoded.numbers[0] == Order.STEP
    visual = torch.cat([torch.empty(0, 2), *encoded.visual])
    assert num_visual_rows(encoded.numbers) == len(visual)
    plan = decode_step(encoded.numbers, visual, BLOCK_SIZE)
    assert plan.admitted == plan.copies == ()
    return plan.chunks


def check(planned: Chunk, came: Chunk) -> None:
    """All that a model runner reads is the same."""
    mine, theirs = planned.sequence, came.sequence
    assert (came.num_tokens, came.is_last) == (planned.num_tokens, planned.is_last)
    assert theirs.num_computed_tokens == mine.num_computed_tokens
    assert theirs.is_decoding == mine.is_decoding
    assert came.table.blocks == planned.table.blocks
    assert came.table.first_slot == planned.table.first_slot
    assert came.table.capacity == planned.table.capacity
    if mine.is_decoding:
        assert theirs.output_ids[-1] == mine.output_ids[-1]
        return
    segments = (each.uncomputed(planned.num_tokens).segments for each in (mine, theirs))
    for one, other in zip(*segments, strict=True):
        if isinstance(one, VisualSegment):
            assert isinstance(other, VisualSegment)
            assert torch.equal(one.embeddings, other.embeddings)
        else:
            assert one == other


def test_prompts_pictures_and_answers_come_as_they_were_planned() -> None:
    chunks = (
        Chunk(sequence(12, 7, 8), table(3, 4, 5, 6), 1, is_last=True),
        Chunk(sequence(0), table(9, 2, 11), 5, is_last=False),
        Chunk(sequence(5), table(7, 8, 9), 6, is_last=True),
        # Computed again after it had given its room back.
        Chunk(sequence(9, 7, 8), table(0, 1, 2, 3), 4, is_last=True),
        Chunk(sequence(10), table(20, 21, 22), 1, is_last=True),
    )
    came = sent(*chunks)
    assert len(came) == len(chunks)
    for one, other in zip(chunks, came, strict=True):
        check(one, other)


def test_a_run_is_told_by_its_first_block() -> None:
    few, many = (
        len(encode_step(StepPlan((), (), (Chunk(sequence(12, 7, 8), each, 1, True),))).numbers)
        for each in (table(*range(4)), table(*range(400)))
    )
    assert few == many


def test_copies_and_blocks_to_clear_come_as_they_were_told() -> None:
    copies = (SlotCopy(0, 64, 16), SlotCopy(80, 7, 1))
    assert decode_copies(encode_copies(copies)) == copies
    cleared = decode_clear(encode_clear(table(5, 3)), BLOCK_SIZE)
    assert cleared.slots(0, cleared.capacity) == [20, 21, 22, 23, 12, 13, 14, 15]
