"""How many tokens a request will likely cost its language replica, by what answers cost lately.

Admission counts at the limits, so that what is promised fits. Placement wants the likely cost: the
answer as long as answers are, pictures as small as the resolution rule makes them, and what a
replica finds in its cache left out.
"""

from collections.abc import Sequence

from common.model_config import ModelConfig
from router.answer import TokenUsage
from router.known_resolutions import KnownResolution
from router.requests import ValidRequest

# Weight of the newest answer in a running mean.
LEARNING_SHARE = 0.05
FIRST_ANSWER_TOKENS = 256.0


class TokenEstimates:
    """Running means over the answers of one router.

    Attributes:
        answer_tokens: Length of an answer.
        size_share: Visual tokens for each one that full resolution would take.
        cached_share: Prompt tokens for each one that were not computed.
    """

    def __init__(self, model: ModelConfig) -> None:
        self._full_tokens = model.full_tokens_per_tile
        self._compressed_tokens = model.compressed_tokens_per_tile
        self.answer_tokens = FIRST_ANSWER_TOKENS
        self.size_share = 1.0
        self.cached_share = 0.0

    def note(self, usage: TokenUsage, num_choices: int) -> None:
        """Learn from a finished answer."""
        self.answer_tokens = _nearer(self.answer_tokens, usage.completion_tokens / num_choices)
        if usage.visual_tokens_before_resolution:
            share = usage.visual_tokens / usage.visual_tokens_before_resolution
            self.size_share = _nearer(self.size_share, share)
        prompt_tokens = usage.text_tokens + usage.visual_tokens
        if prompt_tokens:
            share = min(usage.cached_tokens / prompt_tokens, 1.0)
            self.cached_share = _nearer(self.cached_share, share)

    def work(self, request: ValidRequest, known: Sequence[KnownResolution | None]) -> int:
        """Tokens that a replica will compute for a request, at least 1.

        Args:
            request: What to answer.
            known: For each picture its resolution, where that is decided.
        """
        visual_tokens = 0.0
        for image, resolution in zip(request.images, known, strict=True):
            if resolution is None:
                visual_tokens += image.grid.num_tiles * self._full_tokens * self.size_share
            else:
                small = sum(resolution.compressed)
                visual_tokens += small * self._compressed_tokens
                visual_tokens += (image.grid.num_tiles - small) * self._full_tokens
        sampling = request.sampling
        answer_tokens = min(self.answer_tokens, sampling.max_tokens or self.answer_tokens)
        prompt_tokens = (request.text_tokens + visual_tokens) * (1.0 - self.cached_share)
        return max(round(prompt_tokens + sampling.num_choices * answer_tokens), 1)


def _nearer(mean: float, value: float) -> float:
    return mean + LEARNING_SHARE * (value - mean)
