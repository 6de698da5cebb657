"""A cache that holds, in place of keys and values, what they were computed from.

Whatever the scheduler plans, a sequence must find in its own slots exactly what its own tokens
would have put there.
"""

from dataclasses import dataclass, field

import torch

from common.types import SamplingParameters
from language_service.block_tables import KvBlocks
from language_service.prompt import HeldSegment, Prompt, PromptSegment, VisualSegment
from language_service.scheduler import Chunk, EngineLimits, Scheduler, StepPlan
from language_service.sequence import Sequence
from language_service.token_keys import TokenKeys, picture_identity


def picture(name: int, num_tokens: int) -> VisualSegment:
    """A picture with its identity and no values."""
    return VisualSegment(torch.empty(num_tokens, 0), picture_identity(bytes([name]), (num_tokens,)))


def sequence_of(*segments: PromptSegment, max_tokens: int = 4, name: str = "") -> Sequence:
    return Sequence(name, Prompt(segments), SamplingParameters(max_tokens, 0.0, 0))


@dataclass
class Simulation:
    """A scheduler, its blocks, and slots that remember what was written to them.

    Attributes:
        limits: Of the scheduler.
        blocks: Under test.
    """

    limits: EngineLimits
    blocks: KvBlocks
    slots: dict[int, bytes] = field(default_factory=dict)
    finished: list[Sequence] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.scheduler = Scheduler(self.limits, self.blocks)
        self.alive: list[Sequence] = []

    def submit(self, sequence: Sequence, arrival: float = 0.0, priority: int = 0) -> None:
        self.alive.append(sequence)
        self.scheduler.add(sequence, arrival, priority)

    def submit_held(self, keys: TokenKeys, ends: dict[int, int], sequence: Sequence) -> bool:
        """Submit with whatever pictures the cache knows held; whether there were any."""
        known = self.blocks.match(keys, keys.num_tokens - 1).num_tokens
        covered = {index: end for index, end in ends.items() if end <= known}
        if not covered:
            return False
        match = self.blocks.match(keys, max(covered.values()))
        hold = self.blocks.hold(match, self.blocks.num_tokens - self.limits.max_context_tokens)
        if hold is None:
            return False
        for index in covered:
            segment = sequence.prompt.segments[index]
            assert isinstance(segment, VisualSegment)
            held = HeldSegment(segment.identity or b"", segment.embeddings.shape[0])
            segments = list(sequence.prompt.segments)
            segments[index] = held
            sequence.prompt = Prompt(tuple(segments))
        sequence.hold = hold
        self.submit(sequence)
        return True

    def remove(self, sequence: Sequence) -> None:
        self.alive.remove(sequence)
        self.scheduler.remove(sequence)

    def step(self) -> StepPlan:
        """Plan, check, compute; sequences whose answers are complete leave."""
        plan = self.scheduler.schedule()
        for copy in plan.copies:
            for offset in range(copy.num_tokens):
                self.slots[copy.destination + offset] = self.slots[copy.source + offset]
        assert sum(chunk.num_tokens for chunk in plan.chunks) <= self.limits.max_batch_tokens
        assert len({chunk.sequence for chunk in plan.chunks}) == len(plan.chunks)
        assert self.scheduler.num_running <= self.limits.max_sequences
        for chunk in plan.chunks:
            self._compute(chunk.sequence, chunk.table.slots(0, chunk.table.capacity), chunk)
        for chunk in plan.chunks:
            is_last = chunk.is_last
            self.scheduler.advance(chunk)
            if is_last:
                self._answer(chunk.sequence)
        self.blocks.check_integrity()
        return plan

    def run(self, at_most: int = 10_000) -> None:
        """Step until there is nothing to do."""
        for _ in range(at_most):
            if not self.step().chunks:
                return
        raise AssertionError("it never ends")

    def _compute(self, sequence: Sequence, slots: list[int], chunk: Chunk) -> None:
        begin, keys = sequence.num_computed_tokens, sequence.keys()
        for position in range(begin):
            assert self.slots[slots[position]] == keys.slice(0, position + 1)
        # Raises where a token is to be computed that nobody has sent.
        assert sequence.uncomputed(chunk.num_tokens).num_tokens == chunk.num_tokens
        for position in range(begin, begin + chunk.num_tokens):
            self.slots[slots[position]] = keys.slice(0, position + 1)

    def _answer(self, sequence: Sequence) -> None:
        # An answer follows from its prompt, as a greedy model's does.
        keys = sequence.keys()
        sequence.output_ids.append(hash(keys.slice(0, keys.num_tokens)) % 50)
        if len(sequence.output_ids) == sequence.sampling.max_tokens:
            self.remove(sequence)
            self.finished.append(sequence)
