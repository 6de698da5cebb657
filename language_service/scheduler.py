"""Which tokens the next step computes: a pure policy over sequences and KV runs.

Running answers go first, one token each, so that a long prompt never stalls them. What is left of
the step's budget goes to prompts, oldest first, in chunks. A waiting request is admitted when
there is room for its longest answer, strictly in order of arrival: nobody starves, and nobody
that is admitted runs out of room.
"""

from collections import deque
from dataclasses import dataclass

from common.errors import ConfigError
from language_service.kv_runs import KvRun, KvRuns
from language_service.sequence import Sequence


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


@dataclass(frozen=True, slots=True)
class Chunk:
    """The part of a sequence that one step computes.

    Attributes:
        sequence: Whose tokens.
        run: Where its keys and values are.
        num_tokens: How many of its uncomputed tokens.
    """

    sequence: Sequence
    run: KvRun
    num_tokens: int

    @property
    def is_last(self) -> bool:
        """Whether a new token follows from it."""
        return self.num_tokens == self.sequence.num_uncomputed_tokens


@dataclass(frozen=True, slots=True)
class StepPlan:
    """The work of one step.

    Attributes:
        admitted: Sequences that take part for the first time.
        chunks: What to compute; empty if there is nothing to do.
    """

    admitted: tuple[Sequence, ...]
    chunks: tuple[Chunk, ...]


class Scheduler:
    """Queue and running set.

    Args:
        limits: Bounds of a step.
        runs: Room for keys and values.
    """

    def __init__(self, limits: EngineLimits, runs: KvRuns) -> None:
        self._limits = limits
        self._runs = runs
        self._waiting: deque[Sequence] = deque()
        self._running: dict[Sequence, KvRun] = {}

    @property
    def num_waiting(self) -> int:
        """Sequences not admitted yet."""
        return len(self._waiting)

    @property
    def num_running(self) -> int:
        """Sequences that hold KV room."""
        return len(self._running)

    def add(self, sequence: Sequence) -> None:
        """Queue a sequence; it must fit into an empty cache."""
        self._waiting.append(sequence)

    def remove(self, sequence: Sequence) -> None:
        """Forget a sequence, wherever it is, and free its room."""
        run = self._running.pop(sequence, None)
        if run is None:
            self._waiting.remove(sequence)
        else:
            self._runs.free(run)

    def schedule(self) -> StepPlan:
        """Choose the next step: answers, then prompts under way, then new ones."""
        budget = self._limits.max_batch_tokens
        admitted: list[Sequence] = []
        chunks: list[Chunk] = []
        # In order of admission, and so answers first: prompts are finished in that order too.
        queue = deque(self._running)
        while budget:
            if not queue:
                newcomer = self._admit()
                if newcomer is None:
                    break
                admitted.append(newcomer)
                queue.append(newcomer)
            sequence = queue.popleft()
            num_tokens = min(sequence.num_uncomputed_tokens, budget)
            chunks.append(Chunk(sequence, self._running[sequence], num_tokens))
            budget -= num_tokens
        return StepPlan(tuple(admitted), tuple(chunks))

    def _admit(self) -> Sequence | None:
        """Start the longest waiting sequence, if it may run and has room."""
        if not self._waiting or len(self._running) == self._limits.max_sequences:
            return None
        # Nobody overtakes the head of the queue: what runs will end and make room for it.
        run = self._runs.allocate(self._waiting[0].max_tokens)
        if run is None:
            return None
        sequence = self._waiting.popleft()
        self._running[sequence] = run
        return sequence
