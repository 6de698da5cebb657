"""What a language engine counts; `metrics` exports it."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from common.distribution import TOKEN_SECONDS, TOKENS, Distribution
from language_service.scheduler import Chunk
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
        num_answer_tokens: Those of them that were the newest of an answer; the others were of
            prompts.
        prefill_seconds: Time in steps that computed any token of a prompt.
        decode_seconds: Time in all other steps.
        step_tokens: Tokens of each step.
        step_seconds: Time of each, planning and sampling included.
        mean_answer_tokens: Length of the latest answers; infinite before the first.
    """

    num_query_tokens: int = 0
    num_hit_tokens: int = 0
    num_computed_tokens: int = 0
    num_answer_tokens: int = 0
    prefill_seconds: float = 0.0
    decode_seconds: float = 0.0
    step_tokens: Distribution = field(default_factory=lambda: Distribution(TOKENS))
    step_seconds: Distribution = field(default_factory=lambda: Distribution(TOKEN_SECONDS))
    mean_answer_tokens: float = math.inf

    def note_admitted(self, sequences: tuple[Sequence, ...]) -> None:
        """Count the sequences that a step admits."""
        for sequence in sequences:
            self.num_query_tokens += sequence.num_ready_tokens
            self.num_hit_tokens += sequence.num_cached_tokens or 0

    def note_computed(self, num_tokens: int, num_answer_tokens: int) -> None:
        """Count the tokens of a step, before anybody is given what came of them."""
        self.num_computed_tokens += num_tokens
        self.num_answer_tokens += num_answer_tokens
        self.step_tokens.note(num_tokens)

    def note_seconds(self, seconds: float, is_decode: bool) -> None:
        """Count the time of a step that has ended."""
        if is_decode:
            self.decode_seconds += seconds
        else:
            self.prefill_seconds += seconds
        self.step_seconds.note(seconds)

    def note_answer(self, num_tokens: int) -> None:
        """Learn from an answer that is complete."""
        mean = self.mean_answer_tokens
        if mean == math.inf:
            mean = num_tokens
        self.mean_answer_tokens = mean + LEARNING_SHARE * (num_tokens - mean)


def count_answer_tokens(chunks: Iterable[Chunk]) -> int:
    """How many chunks compute the newest token of an answer; asked before the step runs."""
    return sum(
        num_tokens == 1 and is_last and bool(sequence.output_ids)
        for sequence, _, num_tokens, is_last in chunks
    )
