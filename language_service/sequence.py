"""One request inside the engine; the only state that a request has there."""

from dataclasses import dataclass, field
from itertools import chain

from common.types import SamplingParameters
from language_service.block_tables import PrefixHold
from language_service.penalties import TokenHistory
from language_service.prompt import (
    Prompt,
    PromptSegment,
    TextSegment,
    VisualSegment,
    segment_length,
)
from language_service.token_keys import TokenKeys


@dataclass(slots=True, eq=False)
class Sequence:
    """Prompt and answer so far.

    Attributes:
        request_id: Name of the request.
        prompt: What the model reads first.
        sampling: How the answer's tokens are chosen.
        hold: Blocks that hold its pictures without embeddings; None where it has all.
        num_computed_tokens: Leading tokens whose keys and values are in the cache.
        output_ids: Answer tokens so far.
        rank: Place in the queue: smaller goes first.
        may_match: Whether the cache may know more of it than it did when last asked.
        num_cached_tokens: Prompt tokens that were not computed at its first admission; None
            before that.
        delivered_ids: The answer's first tokens where another replica has computed them. They
            join the others when no picture is missing before them.
        num_prompt_tokens: Tokens of the prompt that are known.
        num_ready_tokens: Those before the first missing picture.
        is_complete: Whether no picture is missing.
    """

    request_id: str
    prompt: Prompt
    sampling: SamplingParameters
    hold: PrefixHold | None = None
    num_computed_tokens: int = 0
    output_ids: list[int] = field(default_factory=list)
    rank: tuple[float, int] = (0.0, 0)
    may_match: bool = True
    num_cached_tokens: int | None = None
    delivered_ids: tuple[int, ...] = ()
    num_prompt_tokens: int = field(init=False)
    num_ready_tokens: int = field(init=False)
    is_complete: bool = field(init=False)
    is_plain_greedy: bool = field(init=False)
    _keys: TokenKeys = field(init=False, default_factory=TokenKeys)
    _num_keyed_segments: int = field(init=False, default=0)
    _num_keyed_outputs: int = field(init=False, default=0)
    _history: TokenHistory | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.is_plain_greedy = self.sampling.is_plain_greedy
        self._measure()

    @property
    def history(self) -> TokenHistory:
        """What penalties count; made when it is first asked for, and as old as the last asking."""
        if self._history is None:
            texts = (s.token_ids for s in self.prompt.segments if isinstance(s, TextSegment))
            self._history = TokenHistory.of_prompt(chain.from_iterable(texts))
        return self._history

    @property
    def num_known_tokens(self) -> int:
        """Tokens that the model can read now, read or not."""
        return self.num_ready_tokens + len(self.output_ids)

    @property
    def num_uncomputed_tokens(self) -> int:
        """Known tokens that the model has yet to read."""
        return self.num_ready_tokens + len(self.output_ids) - self.num_computed_tokens

    @property
    def num_spare_tokens(self) -> int:
        """Tokens that may still follow those that are known."""
        return self.sampling.max_tokens - len(self.output_ids)

    @property
    def is_decoding(self) -> bool:
        """Whether all but its newest token is computed."""
        outputs = self.output_ids
        known = self.num_ready_tokens + len(outputs)
        return bool(outputs) and known - self.num_computed_tokens == 1

    def num_expected_tokens(self, mean_answer_tokens: float) -> int:
        """Steps' worth of work left, if the answer is as long as answers are, or a token longer."""
        longest, num_outputs = self.sampling.max_tokens, len(self.output_ids)
        expected = min(longest, max(mean_answer_tokens, num_outputs + 1))
        return self.num_prompt_tokens + round(expected) - self.num_computed_tokens

    def supply(self, image_index: int, picture: VisualSegment) -> None:
        """Put a picture that has come into its place."""
        self.prompt = self.prompt.with_image(image_index, picture)
        self.may_match = True
        self._measure()

    def keys(self) -> TokenKeys:
        """What the prefix index compares, of all known tokens."""
        ready = self.prompt.ready
        for segment in ready[self._num_keyed_segments :]:
            if isinstance(segment, TextSegment):
                self._keys.add_text(segment.token_ids)
            else:
                self._keys.add_picture(segment.identity, segment_length(segment))
        self._num_keyed_segments = len(ready)
        if self._num_keyed_outputs < len(self.output_ids):
            self._keys.add_text(self.output_ids[self._num_keyed_outputs :])
            self._num_keyed_outputs = len(self.output_ids)
        return self._keys

    def uncomputed(self, num_tokens: int) -> Prompt:
        """The next tokens to compute, of the prompt, the answer or both."""
        begin, end = self.num_computed_tokens, self.num_computed_tokens + num_tokens
        segments: tuple[PromptSegment, ...] = ()
        if begin < self.num_ready_tokens:
            segments = self.prompt.slice(begin, min(end, self.num_ready_tokens)).segments
        if end > self.num_ready_tokens:
            first = max(begin - self.num_ready_tokens, 0)
            outputs = self.output_ids[first : end - self.num_ready_tokens]
            segments = (*segments, TextSegment(tuple(outputs)))
        return Prompt(segments)

    def _measure(self) -> None:
        self.is_complete = self.prompt.is_complete
        self.num_prompt_tokens = self.prompt.num_tokens
        self.num_ready_tokens = sum(segment_length(segment) for segment in self.prompt.ready)
        if self.is_complete and not self.output_ids:
            self.output_ids = list(self.delivered_ids)
