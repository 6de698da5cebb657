"""What a language engine counts; `metrics` exports it."""

import math
from dataclasses import dataclass

from language_service.sequence import Sequence

# Weight of the newest answer in the mean length of answers.
LEARNING_SHARE = 0.05


@dataclass(slots=True)
class EngineStats:
    """What an engine has done since it started.

    Attributes:
        num_query_tokens: Prompt tokens, known at admission, that were looked up in the cache.
        num_hit_tokens: Those of them that were found there.
        num_computed_tokens: Tokens that the model was run on.
        mean_answer_tokens: Length of the latest answers; infinite before the first.
    """

    num_query_tokens: int = 0
    num_hit_tokens: int = 0
    num_computed_tokens: int = 0
    mean_answer_tokens: float = math.inf

    def note_admitted(self, sequences: tuple[Sequence, ...]) -> None:
        """Count the sequences that a step admits."""
        for sequence in sequences:
            self.num_query_tokens += sequence.num_ready_tokens
            self.num_hit_tokens += sequence.num_cached_tokens or 0

    def note_answer(self, num_tokens: int) -> None:
        """Learn from an answer that is complete."""
        mean = self.mean_answer_tokens
        if mean == math.inf:
            mean = num_tokens
        self.mean_answer_tokens = mean + LEARNING_SHARE * (num_tokens - mean)
