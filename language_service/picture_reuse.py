"""Which pictures of a prompt need not come, because the cache knows their keys and values.

A prompt can be compared with the cache up to the first picture whose resolution is not decided.
Pictures that the cache covers whole are held there from before the sender is told until the
request ends, because nobody will send them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from language_service.block_tables import PrefixHold
from language_service.embedding_manifest import EmbeddingFormat
from language_service.engine import LanguageEngine
from language_service.prompt import HeldSegment, Prompt, PromptLayout, TextSegment
from language_service.reservation import ExpectedImage
from language_service.token_keys import TokenKeys, picture_identity


@dataclass(frozen=True, slots=True)
class KnownPicture:
    """A picture at its place in a prompt.

    Attributes:
        end: Prompt tokens up to its last.
        segment: What stands for it where it is held.
    """

    end: int
    segment: HeldSegment


@dataclass(slots=True)
class KnownPrefix:
    """What is known of a prompt before any picture has come.

    Attributes:
        keys: Of its leading tokens.
        pictures: Among those tokens, by image index.
        is_whole: Whether that is the whole prompt.
    """

    keys: TokenKeys = field(default_factory=TokenKeys)
    pictures: dict[int, KnownPicture] = field(default_factory=dict)
    is_whole: bool = True

    @property
    def limit(self) -> int:
        """Most tokens to take from the cache; the last of a prompt is always computed."""
        return self.keys.num_tokens - self.is_whole


@dataclass(frozen=True, slots=True)
class PictureReuse:
    """A prompt as it is submitted.

    Attributes:
        prompt: With pictures that are held, and places for those that must come.
        hold: What holds them; None where there are none.
        image_indexes: Pictures that are held.
    """

    prompt: Prompt
    hold: PrefixHold | None
    image_indexes: tuple[int, ...]


def known_prefix(
    layout: PromptLayout, images: Sequence[ExpectedImage], accepted: EmbeddingFormat
) -> KnownPrefix:
    """Read a prompt up to the first picture whose resolution is not decided."""
    known = KnownPrefix()
    for segment in layout.segments:
        if isinstance(segment, TextSegment):
            known.keys.add_text(segment.token_ids)
            continue
        image = images[segment.image_index]
        if image.compressed is None:
            known.is_whole = False
            break
        tile_tokens = accepted.tile_tokens(image.compressed)
        held = HeldSegment(picture_identity(image.image_key, tile_tokens), sum(tile_tokens))
        known.keys.add_picture(held.identity, held.num_tokens)
        known.pictures[segment.image_index] = KnownPicture(known.keys.num_tokens, held)
    return known


def reuse_pictures(
    layout: PromptLayout,
    images: Sequence[ExpectedImage],
    accepted: EmbeddingFormat,
    engine: LanguageEngine,
) -> PictureReuse:
    """Hold what the cache knows of a prompt's pictures, until the request ends."""
    known = known_prefix(layout, images, accepted)
    ends = tuple(picture.end for picture in known.pictures.values())
    hold = engine.hold_pictures(known.keys, ends, known.limit) if ends else None
    if hold is None:
        return PictureReuse(Prompt(layout.segments), None, ())
    covered = {
        index: picture.segment
        for index, picture in known.pictures.items()
        if picture.end <= hold.match.num_tokens
    }
    segments = tuple(
        segment if isinstance(segment, TextSegment) else covered.get(segment.image_index, segment)
        for segment in layout.segments
    )
    return PictureReuse(Prompt(segments), hold, tuple(covered))
