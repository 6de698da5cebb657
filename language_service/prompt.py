"""The prompt in its three shapes, from the wire to the engine.

PromptMessage   what the servicer builds: text and places of pictures, turn by turn
PromptLayout    what the tokenizer makes of them: token ids and places of pictures
Prompt          what the engine computes: token ids and embeddings
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True)
class TextSegment:
    """A run of text tokens."""

    token_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ImageSegment:
    """The place of one picture; how many tokens it takes is not known yet."""

    image_index: int


@dataclass(frozen=True, slots=True)
class VisualSegment:
    """A run of visual tokens.

    Attributes:
        embeddings: [n, h], one row a token.
    """

    embeddings: torch.Tensor


@dataclass(frozen=True, slots=True)
class PromptLayout:
    """A tokenised conversation in which pictures are still places."""

    segments: tuple[TextSegment | ImageSegment, ...]

    @property
    def num_text_tokens(self) -> int:
        """Tokens that are text, image start and end tokens included."""
        return sum(len(s.token_ids) for s in self.segments if isinstance(s, TextSegment))

    @property
    def image_indexes(self) -> tuple[int, ...]:
        """Pictures in the order of the prompt."""
        return tuple(s.image_index for s in self.segments if isinstance(s, ImageSegment))


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the language model reads, in order."""

    segments: tuple[TextSegment | VisualSegment, ...]

    @property
    def num_tokens(self) -> int:
        """Tokens of any kind."""
        return sum(segment_length(segment) for segment in self.segments)

    @property
    def num_text_tokens(self) -> int:
        """Tokens that are text."""
        return sum(len(s.token_ids) for s in self.segments if isinstance(s, TextSegment))

    @property
    def num_visual_tokens(self) -> int:
        """Tokens that are embeddings."""
        return self.num_tokens - self.num_text_tokens

    def slice(self, begin: int, end: int) -> "Prompt":
        """Tokens `begin` to `end` (exclusive); embeddings are views, nothing is copied."""
        segments: list[TextSegment | VisualSegment] = []
        offset = 0
        for segment in self.segments:
            length = segment_length(segment)
            first, last = max(begin - offset, 0), min(end - offset, length)
            if first < last:
                segments.append(_slice_segment(segment, first, last))
            offset += length
        return Prompt(tuple(segments))

    def map_embeddings(self, convert: Callable[[torch.Tensor], torch.Tensor]) -> "Prompt":
        """The same prompt with every embedding converted."""
        return Prompt(
            tuple(
                VisualSegment(convert(s.embeddings)) if isinstance(s, VisualSegment) else s
                for s in self.segments
            )
        )


def segment_length(segment: TextSegment | VisualSegment) -> int:
    """Tokens of one segment."""
    if isinstance(segment, TextSegment):
        return len(segment.token_ids)
    return segment.embeddings.shape[0]


def _slice_segment(
    segment: TextSegment | VisualSegment, begin: int, end: int
) -> TextSegment | VisualSegment:
    if isinstance(segment, TextSegment):
        return TextSegment(segment.token_ids[begin:end])
    return VisualSegment(segment.embeddings[begin:end])
