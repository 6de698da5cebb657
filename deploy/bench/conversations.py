"""What a load asks: conversations of one or several turns, some with pictures, all from a seed."""

import random
from dataclasses import dataclass

from deploy.bench.mix import Mix
from deploy.bench.pictures import Gallery, Picture
from deploy.bench.vocabulary import Vocabulary


@dataclass(frozen=True, slots=True)
class Turn:
    """What a user says once.

    Attributes:
        pictures: Come before the text.
        text: The rest.
        max_tokens: Limit of the answer.
    """

    pictures: tuple[Picture, ...]
    text: str
    max_tokens: int


@dataclass(frozen=True, slots=True)
class Conversation:
    """Turns of one user, one after the other.

    Attributes:
        turns: At least one; pictures are in the first.
        repeats_pictures: Whether an earlier conversation has the same pictures.
    """

    turns: tuple[Turn, ...]
    repeats_pictures: bool = False


def make_conversations(
    num_conversations: int,
    mix: Mix,
    vocabulary: Vocabulary,
    gallery: Gallery,
    draws: random.Random,
) -> list[Conversation]:
    """Make all conversations of a load.

    Args:
        num_conversations: How many.
        mix: What they are made of.
        vocabulary: Where texts come from.
        gallery: Where pictures come from.
        draws: Decides everything else.
    """
    conversations: list[Conversation] = []
    shown: list[tuple[Picture, ...]] = []
    for _ in range(num_conversations):
        # Always drawn, so that one share does not change what another one decides.
        is_text, is_repeat = draws.random() < mix.text_share, draws.random() < mix.repeat_share
        pictures: tuple[Picture, ...] = ()
        repeats = False
        if mix.num_pictures and not is_text:
            repeats = is_repeat and bool(shown)
            if repeats:
                pictures = draws.choice(shown)
            else:
                pictures = tuple(gallery.next_picture() for _ in range(mix.num_pictures))
                shown.append(pictures)
        turns = tuple(
            Turn(pictures if index == 0 else (), *_lengths(mix, vocabulary, draws))
            for index in range(mix.num_turns)
        )
        conversations.append(Conversation(turns, repeats))
    return conversations


def _lengths(mix: Mix, vocabulary: Vocabulary, draws: random.Random) -> tuple[str, int]:
    text = vocabulary.text(_length(mix.input_tokens, mix.range_ratio, draws), draws)
    return text, _length(mix.output_tokens, mix.range_ratio, draws)


def _length(mean: int, range_ratio: float, draws: random.Random) -> int:
    return max(1, draws.randint(round(mean * (1 - range_ratio)), round(mean * (1 + range_ratio))))
