"""The prompt in its three shapes, from the wire to the engine.

PromptMessage   what the servicer builds: text and places of pictures, turn by turn
PromptLayout    what the tokenizer makes of them: token ids and places of pictures
Prompt          what the engine computes: token ids and embeddings, as far as they have come
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
        identity: Of the whole picture, see `picture_identity`; None keeps it and all that follows
            out of the prefix index.
    """

    embeddings: torch.Tensor
    identity: bytes | None = None


@dataclass(frozen=True, slots=True)
class HeldSegment:
    """A picture whose keys and values are held in the cache, and which has no embedding here.

    Attributes:
        identity: Of the picture.
        num_tokens: Its visual tokens.
    """

    identity: bytes
    num_tokens: int


PromptSegment = TextSegment | VisualSegment | HeldSegment | ImageSegment


@dataclass(frozen=True, slots=True)
class PromptLayout:
    """A tokenised conversation in which pictures are still places."""

    segments: tuple[TextSegment | ImageSegment, ...]

    @property
    def num_text_tokens(self) -> int:
        """Tokens that are text, image start and end tokens included."""
        return sum(len(s.token_ids) for s in self.segments if isinstance(s, TextSegment))


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the language model reads, in order; places are left where pictures have yet to come."""

    segments: tuple[PromptSegment, ...]

    @property
    def is_complete(self) -> bool:
        """Whether every picture is here."""
        return not any(isinstance(segment, ImageSegment) for segment in self.segments)

    @property
    def num_tokens(self) -> int:
        """Tokens of any kind that are known."""
        return sum(segment_length(segment) for segment in self.segments)

    @property
    def num_text_tokens(self) -> int:
        """Tokens that are text."""
        return sum(len(s.token_ids) for s in self.segments if isinstance(s, TextSegment))

    @property
    def num_visual_tokens(self) -> int:
        """Tokens that are pictures."""
        return self.num_tokens - self.num_text_tokens

    @property
    def ready(self) -> tuple[TextSegment | VisualSegment | HeldSegment, ...]:
        """What comes before the first picture that is missing."""
        ready: list[TextSegment | VisualSegment | HeldSegment] = []
        for segment in self.segments:
            if isinstance(segment, ImageSegment):
                break
            ready.append(segment)
        return tuple(ready)

    def with_image(self, image_index: int, picture: VisualSegment) -> "Prompt":
        """The same prompt with one more picture in its place."""
        place = ImageSegment(image_index)
        return Prompt(tuple(picture if segment == place else segment for segment in self.segments))

    def slice(self, begin: int, end: int) -> "Prompt":
        """Tokens `begin` to `end` (exclusive); embeddings are views, nothing is copied."""
        segments: list[PromptSegment] = []
        offset = 0
        for segment in self.segments:
            length = segment_length(segment)
            first, last = max(begin - offset, 0), min(end - offset, length)
            if first < last:
                segments.append(_slice_segment(segment, first, last))
            offset += length
            if offset >= end:
                break
        return Prompt(tuple(segments))

    def map_embeddings(self, convert: Callable[[torch.Tensor], torch.Tensor]) -> "Prompt":
        """The same prompt with every embedding converted."""
        return Prompt(
            tuple(
                VisualSegment(convert(s.embeddings), s.identity)
                if isinstance(s, VisualSegment)
                else s
                for s in self.segments
            )
        )


def segment_length(segment: PromptSegment) -> int:
    """Tokens of one segment; 0 while they are not known."""
    if isinstance(segment, TextSegment):
        return len(segment.token_ids)
    if isinstance(segment, VisualSegment):
        return segment.embeddings.shape[0]
    return segment.num_tokens if isinstance(segment, HeldSegment) else 0


def _slice_segment(segment: PromptSegment, begin: int, end: int) -> PromptSegment:
    if isinstance(segment, TextSegment):
        return TextSegment(segment.token_ids[begin:end])
    if isinstance(segment, VisualSegment):
        return VisualSegment(segment.embeddings[begin:end], segment.identity)
    raise AssertionError("the cache was to hold this picture")
