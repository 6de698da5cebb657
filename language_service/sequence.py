"""One request inside the engine; the only state that a request has there."""

from dataclasses import dataclass, field

from common.types import SamplingParameters
from language_service.prompt import Prompt, TextSegment


@dataclass(slots=True, eq=False)
class Sequence:
    """Prompt and answer so far.

    Attributes:
        request_id: Name of the request.
        prompt: What the model reads first.
        sampling: How the answer's tokens are chosen.
        num_computed_tokens: Leading tokens whose keys and values are in the cache.
        output_ids: Answer tokens so far.
    """

    request_id: str
    prompt: Prompt
    sampling: SamplingParameters
    num_computed_tokens: int = 0
    output_ids: list[int] = field(default_factory=list)
    num_prompt_tokens: int = field(init=False)

    def __post_init__(self) -> None:
        self.num_prompt_tokens = self.prompt.num_tokens

    @property
    def max_tokens(self) -> int:
        """Longest prompt and answer together, in tokens."""
        return self.num_prompt_tokens + self.sampling.max_tokens

    @property
    def num_uncomputed_tokens(self) -> int:
        """Known tokens that the model has yet to read."""
        return self.num_prompt_tokens + len(self.output_ids) - self.num_computed_tokens

    @property
    def is_decoding(self) -> bool:
        """Whether the whole prompt is computed."""
        return self.num_computed_tokens >= self.num_prompt_tokens

    @property
    def num_outstanding_tokens(self) -> int:
        """Steps' worth of work left, if the answer takes its full length."""
        return self.max_tokens - self.num_computed_tokens

    def uncomputed(self, num_tokens: int) -> Prompt:
        """The next tokens to compute, of the prompt or the answer."""
        begin = self.num_computed_tokens
        if begin < self.num_prompt_tokens:
            return self.prompt.slice(begin, begin + num_tokens)
        begin -= self.num_prompt_tokens
        return Prompt((TextSegment(tuple(self.output_ids[begin : begin + num_tokens])),))
