"""What a load asks."""

import random
from itertools import count

import pytest

from deploy.bench.conversations import Conversation, make_conversations
from deploy.bench.mix import Mix
from deploy.bench.pictures import Picture
from deploy.bench.vocabulary import Vocabulary, Word

WORDS = Vocabulary((Word("a", 1), Word("bee", 2), Word("sea", 3)))
TOKENS = {"a": 1, "bee": 2, "sea": 3}


class Numbered:
    """Hands out numbers as pictures."""

    def __init__(self) -> None:
        self._numbers = count()

    def next_picture(self) -> Picture:
        return Picture(str(next(self._numbers)).encode(), "image/png")


def make(number: int = 400, seed: int = 1, **mix: float | int) -> list[Conversation]:
    return make_conversations(number, Mix(**mix), WORDS, Numbered(), random.Random(seed))  # type: ignore[arg-type]


def pictures_of(conversation: Conversation) -> tuple[bytes, ...]:
    return tuple(picture.data for picture in conversation.turns[0].pictures)


@pytest.mark.parametrize("num_tokens", [1, 2, 3, 17, 100])
def test_a_text_has_the_tokens_that_were_asked_for(num_tokens: int) -> None:
    text = WORDS.text(num_tokens, random.Random(3))
    assert sum(TOKENS[word] for word in text.split()) == num_tokens


def test_a_text_is_never_longer_unless_no_word_is_so_short() -> None:
    long = Vocabulary((Word("cee", 3), Word("five", 5)))
    assert long.text(7, random.Random(1)) in ("cee cee", "five")
    assert long.text(1, random.Random(1)) == "cee"


def test_every_turn_has_its_text_and_the_first_has_the_pictures() -> None:
    for conversation in make(20, num_turns=3, num_pictures=2, input_tokens=9, output_tokens=5):
        first, *later = conversation.turns
        assert len(first.pictures) == 2
        assert [turn.pictures for turn in later] == [(), ()]
        assert all(
            sum(TOKENS[word] for word in turn.text.split()) == 9 and turn.max_tokens == 5
            for turn in conversation.turns
        )


def test_without_a_repeat_share_no_picture_comes_twice() -> None:
    shown = [data for each in make(num_pictures=2) for data in pictures_of(each)]
    assert len(set(shown)) == len(shown) == 800


def test_the_text_share_has_no_pictures() -> None:
    without = sum(not pictures_of(each) for each in make(text_share=0.25))
    assert without == pytest.approx(100, abs=30)
    assert not any(pictures_of(each) for each in make(text_share=1.0))


def test_the_repeat_share_has_pictures_that_came_before() -> None:
    seen: set[tuple[bytes, ...]] = set()
    repeats = 0
    for each in make(repeat_share=0.4, num_pictures=2):
        assert each.repeats_pictures == (pictures_of(each) in seen)
        repeats += each.repeats_pictures
        seen.add(pictures_of(each))
    assert repeats == pytest.approx(160, abs=30)


def test_lengths_are_drawn_from_their_range() -> None:
    lengths = [each.turns[0].max_tokens for each in make(output_tokens=10, range_ratio=0.5)]
    assert set(lengths) == set(range(5, 16))
    assert {each.turns[0].max_tokens for each in make(output_tokens=1, range_ratio=1.0)} == {1, 2}


def test_a_seed_repeats_a_load() -> None:
    assert make(50, text_share=0.3, repeat_share=0.3) == make(50, text_share=0.3, repeat_share=0.3)
    assert make(50) != make(50, seed=2)
