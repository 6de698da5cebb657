"""Words are told apart by the reader of a picture, and each is one token."""

from itertools import combinations
from math import dist

import pytest

from training.tokenizer import train_tokenizer
from training.vocabulary import (
    BACKGROUNDS,
    COLOURS,
    DETAIL_KINDS,
    MAX_DOTS,
    NUMBER_WORDS,
    PHRASINGS,
    SHAPES,
    SIGN_WORDS,
    Kind,
    all_text,
)

TOKENIZER = train_tokenizer()
WORDS = (*COLOURS, *BACKGROUNDS, *SHAPES, *NUMBER_WORDS, *SIGN_WORDS)
WITH_SUBJECT = set(Kind) - {Kind.DOTS, Kind.COUNT, Kind.DESCRIBE}


@pytest.mark.parametrize("before", ["", " "])
def test_every_word_is_one_token(before: str) -> None:
    long = [word for word in WORDS if len(TOKENIZER.encode(before + word).ids) != 1]
    assert long == []


def test_every_word_of_every_question_is_one_token() -> None:
    written = [p.format("red") for group in PHRASINGS.values() for p in group]
    for text in written:
        tokens = [TOKENIZER.decode([i]) for i in TOKENIZER.encode(text).ids]
        assert [t.strip() for t in tokens if t[-1].isalpha()] == [
            word.strip("?.,") for word in text.split()
        ]


def test_no_word_stands_for_two_things() -> None:
    assert len(set(WORDS)) == len(WORDS)
    assert all(word.isupper() and 3 <= len(word) <= 5 for word in SIGN_WORDS)


def test_colours_can_be_told_apart() -> None:
    paints = [*COLOURS.values(), *BACKGROUNDS.values()]
    assert min(dist(a, b) for a, b in combinations(paints, 2)) > 45


def test_every_kind_is_asked_in_words_of_its_own() -> None:
    phrasings = [phrasing for kind in Kind for phrasing in PHRASINGS[kind]]
    assert len(set(phrasings)) == len(phrasings)
    assert set(DETAIL_KINDS) < set(Kind)


@pytest.mark.parametrize("kind", Kind)
def test_a_phrasing_has_one_gap_where_a_subject_is_needed(kind: Kind) -> None:
    gaps = {phrasing.count("{}") for phrasing in PHRASINGS[kind]}
    assert gaps == {int(kind in WITH_SUBJECT)}
    assert all(phrasing[0].isupper() and phrasing[-1] in "?." for phrasing in PHRASINGS[kind])


def test_the_tokenizer_learns_from_all_of_it() -> None:
    text = set(all_text())
    assert text >= {*WORDS, *(f" {word}" for word in WORDS)}
    assert text >= {phrasing for group in PHRASINGS.values() for phrasing in group}


def test_there_is_a_word_for_every_number_of_shapes_and_dots() -> None:
    assert max(len(SHAPES), MAX_DOTS) < len(NUMBER_WORDS)
