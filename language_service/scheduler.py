"""Which tokens the next step computes: a pure policy over sequences and KV blocks.

Running answers go first, one token each, so that a long prompt never stalls them. What is left of
the step's budget goes to prompts in chunks: those that are complete in the order of their ranks,
then those that wait for pictures, as far as they have come. A rank is the time of arrival, less a
head start for priority: who waits long enough goes first, whatever comes after, so nobody starves.

Room is given for what is known and a little more. Where it runs out, somebody gives all of it
back and is computed again later, from what the cache still knows: first who waits for pictures,
the newest first, then the newest of all. The first in rank never gives way, so it always ends.
"""

from bisect import insort
from dataclasses import dataclass, field
from typing import NamedTuple

from common.errors import ConfigError
from language_service.block_tables import SPARE_TOKENS, BlockTable, KvBlocks, SlotCopy
from language_service.prefix_index import PrefixMatch
from language_service.sequence import Sequence

# Seconds of waiting that one step of priority is worth.
PRIORITY_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class EngineLimits:
    """Bounds of the engine.

    Attributes:
        max_context_tokens: Longest prompt and answer together.
        max_batch_tokens: Tokens of one step, at least `max_sequences`.
        max_sequences: Sequences that run at once.
    """

    max_context_tokens: int
    max_batch_tokens: int
    max_sequences: int

    def __post_init__(self) -> None:
        if not 1 <= self.max_sequences <= self.max_batch_tokens:
            raise ConfigError(
                f"max_batch_tokens ({self.max_batch_tokens}) must be at least "
                f"max_sequences ({self.max_sequences}), and that at least 1."
            )


class Chunk(NamedTuple):
    """The part of a sequence that one step computes; a tuple, because every step makes many.

    Attributes:
        sequence: Whose tokens.
        table: Where its keys and values are.
        num_tokens: How many of its uncomputed tokens.
        is_last: Whether a new token follows from it.
    """

    sequence: Sequence
    table: BlockTable
    num_tokens: int
    is_last: bool


@dataclass(frozen=True, slots=True)
class StepPlan:
    """The work of one step.

    Attributes:
        admitted: Sequences that take part for the first time.
        copies: Keys and values to copy first, in order.
        chunks: What to compute, answers first; empty if there is nothing to do.
    """

    admitted: tuple[Sequence, ...]
    copies: tuple[SlotCopy, ...]
    chunks: tuple[Chunk, ...]


@dataclass(slots=True)
class _Draft:
    """A plan in the making."""

    budget: int
    admitted: list[Sequence] = field(default_factory=list)
    copies: list[SlotCopy] = field(default_factory=list)
    chunks: dict[Sequence, Chunk] = field(default_factory=dict)

    def add(self, sequence: Sequence, table: BlockTable, num_tokens: int) -> None:
        is_last = sequence.is_complete and num_tokens == sequence.num_uncomputed_tokens
        self.chunks[sequence] = Chunk(sequence, table, num_tokens, is_last)
        self.budget -= num_tokens

    def add_answer(self, sequence: Sequence, table: BlockTable) -> None:
        """Add the newest token of a sequence that is decoding; another follows from it."""
        self.chunks[sequence] = Chunk(sequence, table, 1, is_last=True)
        self.budget -= 1

    def drop(self, sequence: Sequence) -> None:
        """Take a sequence out again; its copies harm nobody."""
        chunk = self.chunks.pop(sequence, None)
        if chunk is not None:
            self.budget += chunk.num_tokens


class Scheduler:
    """Queue and running set.

    Args:
        limits: Bounds of a step.
        blocks: Room for keys and values.
    """

    def __init__(self, limits: EngineLimits, blocks: KvBlocks) -> None:
        self._limits = limits
        self._blocks = blocks
        self._waiting: list[Sequence] = []
        self._running: dict[Sequence, BlockTable] = {}
        self._num_added = 0
        self.num_preemptions = 0

    @property
    def num_running(self) -> int:
        """Sequences that hold KV room."""
        return len(self._running)

    def add(self, sequence: Sequence, arrival: float = 0.0, priority: int = 0) -> None:
        """Queue a sequence; it must fit into an empty cache.

        Args:
            sequence: Not yet queued.
            arrival: Time in seconds.
            priority: Steps of head start.
        """
        self._num_added += 1
        sequence.rank = (arrival - priority * PRIORITY_SECONDS, self._num_added)
        self._queue(sequence)

    def remove(self, sequence: Sequence, keep: bool = True) -> None:
        """Forget a sequence, wherever it is, and free its room.

        Args:
            sequence: Whose.
            keep: Whether what it has computed may serve others.
        """
        table = self._running.pop(sequence, None)
        if table is None:
            self._waiting.remove(sequence)
        elif keep:
            self._blocks.close(table, sequence.keys(), sequence.num_computed_tokens)
        else:
            self._blocks.discard(table)
        if sequence.hold is not None:
            self._blocks.let_go(sequence.hold)

    def table(self, sequence: Sequence) -> BlockTable:
        """Where a running sequence's keys and values are."""
        return self._running[sequence]

    def advance(self, chunk: Chunk) -> None:
        """Count what a step has computed of a sequence, and let others find it."""
        sequence, table = chunk.sequence, chunk.table
        sequence.num_computed_tokens += chunk.num_tokens
        if sequence.num_computed_tokens >= (len(table.names) + 1) * table.block_size:
            self._blocks.index(table, sequence.keys(), sequence.num_computed_tokens)

    def schedule(self) -> StepPlan:
        """Choose the next step."""
        draft = _Draft(self._limits.max_batch_tokens)
        running = sorted(self._running, key=_rank)
        self._plan_answers(draft, running)
        self._plan_prompts(draft, [each for each in running if each.is_complete])
        if self._admit_complete(draft):
            self._plan_prompts(draft, [each for each in running if not each.is_complete])
            self._admit_incomplete(draft)
        return StepPlan(tuple(draft.admitted), tuple(draft.copies), tuple(draft.chunks.values()))

    def _plan_answers(self, draft: _Draft, sequences: list[Sequence]) -> None:
        for sequence in sequences:
            # Others may have taken its room a moment ago.
            table = self._running.get(sequence)
            if table is None or not sequence.is_decoding:
                continue
            if sequence.num_known_tokens <= table.capacity or self._grow(draft, sequence, table):
                draft.add_answer(sequence, table)

    def _plan_prompts(self, draft: _Draft, sequences: list[Sequence]) -> None:
        for sequence in sequences:
            if not draft.budget:
                return
            table = self._running.get(sequence)
            if table is not None and sequence not in draft.chunks:
                self._plan_prompt(draft, sequence, table)

    def _plan_prompt(self, draft: _Draft, sequence: Sequence, table: BlockTable) -> None:
        """Let a prompt under way compute, if it has room or somebody makes it some."""
        if not sequence.num_uncomputed_tokens:
            return
        if sequence.num_known_tokens > table.capacity and not self._grow(draft, sequence, table):
            return
        if sequence.may_match:
            self._match_more(draft, sequence, table)
        num_tokens = min(sequence.num_uncomputed_tokens, draft.budget)
        if num_tokens:
            draft.add(sequence, table, num_tokens)

    def _match_more(self, draft: _Draft, sequence: Sequence, table: BlockTable) -> None:
        """Take over what others have computed of its prompt since it began."""
        sequence.may_match = False
        more = self._blocks.extend_match(
            table, sequence.keys(), sequence.num_computed_tokens, _limit(sequence)
        )
        draft.copies += more.copies
        sequence.num_computed_tokens = more.num_tokens

    def _grow(self, draft: _Draft, sequence: Sequence, table: BlockTable) -> bool:
        """Make room for a sequence's known tokens, at the expense of others where need be."""
        while True:
            copies = self._blocks.grow(
                table, sequence.num_known_tokens, _spare(sequence), sequence.num_computed_tokens
            )
            if copies is not None:
                draft.copies += copies
                return True
            if self._trim():
                continue
            victim = self._victim(sequence)
            self._preempt(draft, victim)
            if victim is sequence:
                return False

    def _trim(self) -> bool:
        """Take back what sequences have beyond what they need now; whether that was anything."""
        before = self._blocks.num_free_tokens
        for sequence, table in self._running.items():
            self._blocks.trim(table, sequence.num_known_tokens)
        return self._blocks.num_free_tokens > before

    def _victim(self, sequence: Sequence) -> Sequence:
        """Who gives way to a running sequence; itself where nobody is behind it."""
        if not sequence.is_complete:
            return sequence
        waiting = [each for each in self._running if not each.is_complete]
        return max(waiting or self._running, key=_rank)

    def _preempt(self, draft: _Draft, victim: Sequence) -> None:
        """Take all room from a sequence and queue it again."""
        draft.drop(victim)
        table = self._running.pop(victim)
        self._blocks.close(table, victim.keys(), victim.num_computed_tokens)
        victim.num_computed_tokens = 0
        victim.may_match = True
        self.num_preemptions += 1
        self._queue(victim)

    def _admit_complete(self, draft: _Draft) -> bool:
        """Start complete sequences; whether none of them waits for a seat or for room."""
        for sequence in [each for each in self._waiting if each.is_complete]:
            if not draft.budget:
                return False
            # Nobody overtakes the first: what runs will end and make room for it.
            while not self._admit(draft, sequence):
                waiting = [each for each in self._running if not each.is_complete]
                if not waiting:
                    return False
                self._preempt(draft, max(waiting, key=_rank))
        return True

    def _admit_incomplete(self, draft: _Draft) -> None:
        for sequence in [each for each in self._waiting if not each.is_complete]:
            if not draft.budget:
                return
            if sequence.may_match and self._match(sequence).num_tokens == sequence.num_known_tokens:
                # All is there already; it need not take a seat before its next picture comes.
                sequence.may_match = False
            if sequence.may_match:
                self._admit(draft, sequence)

    def _admit(self, draft: _Draft, sequence: Sequence) -> bool:
        """Start a sequence if there is a seat and room for all that is known of it."""
        if len(self._running) == self._limits.max_sequences:
            return False
        if self._running and not self._has_room(sequence):
            return False
        match = self._match(sequence)
        opened = self._blocks.open(
            sequence.num_known_tokens, _spare(sequence), match, sequence.hold
        )
        if opened is None:
            return False
        self._waiting.remove(sequence)
        self._running[sequence] = opened.table
        draft.copies += opened.copies
        sequence.num_computed_tokens = opened.num_tokens
        sequence.may_match = False
        if sequence.num_cached_tokens is None:
            sequence.num_cached_tokens = min(opened.num_tokens, sequence.num_ready_tokens)
            draft.admitted.append(sequence)
        draft.add(sequence, opened.table, min(sequence.num_uncomputed_tokens, draft.budget))
        return True

    def _has_room(self, sequence: Sequence) -> bool:
        """Whether there is room for a newcomer, if others do without what they need later."""
        blocks = self._blocks
        # A block for each answer under way, so that nobody is admitted only to give way at once.
        needed = blocks.num_blocks(sequence.num_known_tokens) + len(self._running)
        if needed * blocks.block_size <= blocks.num_free_tokens:
            return True
        spare = sum(
            len(table.blocks) - blocks.num_blocks(each.num_known_tokens)
            for each, table in self._running.items()
        )
        if (needed - spare) * blocks.block_size > blocks.num_free_tokens:
            return False
        return self._trim()

    def _match(self, sequence: Sequence) -> PrefixMatch:
        match = self._blocks.match(sequence.keys(), _limit(sequence))
        hold = sequence.hold
        if hold is not None and hold.match.num_tokens > match.num_tokens:
            return hold.match
        return match

    def _queue(self, sequence: Sequence) -> None:
        insort(self._waiting, sequence, key=_rank)


def _rank(sequence: Sequence) -> tuple[float, int]:
    return sequence.rank


def _limit(sequence: Sequence) -> int:
    """Most tokens to take from the cache: the last one must be computed, for what follows it."""
    return sequence.num_known_tokens - sequence.is_complete


def _spare(sequence: Sequence) -> int:
    return min(sequence.num_spare_tokens, SPARE_TOKENS)
