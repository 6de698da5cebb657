"""Answers agree with another reading of the scene, made from the question's words alone."""

import random
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import islice

import pytest

from training.pictures import draw_samples
from training.questions import Turn, ask, ask_all, ask_pair, ask_text, ask_twice
from training.scenes import Dots, Scene, Shape, Sign, draw_scene
from training.vocabulary import PHRASINGS, Kind


def source(name: object) -> random.Random:
    return random.Random(f"{name}")  # noqa: S311 - drawing, not secrets


COUNTING = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
SAMPLES = list(islice(draw_samples(seed=3), 2200))
SHAPE_WORDS = re.compile(r"big (circle|square|triangle|star|cross|diamond)\b")


def read_off(scenes: tuple[Scene, ...], question: str) -> str:
    """Answer a first question by looking at the scene."""
    if not scenes:
        (word,) = set(COUNTING) & set(question.strip("?.").split())
        return COUNTING[COUNTING.index(word) + 1]
    if len(scenes) == 2:
        return read_pair(scenes, question)
    for mark, read in READERS.items():
        if mark in question:
            return read(scenes[0], question)
    return write_description(scenes[0])


def read_pair(scenes: tuple[Scene, ...], question: str) -> str:
    wanted = SHAPE_WORDS.findall(question)
    holders = [i for i, s in enumerate(scenes) for b in s.big_shapes if [b.name] == wanted]
    (holder,) = holders
    return ("the first", "the second")[holder]


def read_sign(scene: Scene, question: str) -> str:
    words = question.strip("?.").split()
    colour = words[words.index("sign") - 1]
    (text,) = [sign.text for sign in scene.signs if sign.colour == colour]
    assert ("number" in words) == all(character in "0123456789" for character in text)
    return text


def read_colour(scene: Scene, question: str) -> str:
    big = re.findall(r"big (\w+)", question)
    (name,) = big or re.findall(r"(\w+) icon", question)
    (colour,) = [
        shape.colour for shape in (scene.big_shapes if big else scene.icons) if shape.name == name
    ]
    return colour


def read_left(scene: Scene, question: str) -> str:
    (name,) = SHAPE_WORDS.findall(question)
    (asked,) = [shape for shape in scene.big_shapes if shape.name == name]
    row = [s for s in scene.big_shapes if int(s.y / 112) == int(asked.y / 112)]
    row.sort(key=lambda shape: shape.x)
    place = row.index(asked)
    assert place > 0
    return row[place - 1].name


def write_description(scene: Scene) -> str:
    in_order = sorted(scene.big_shapes, key=lambda s: (int(s.y / 112), int(s.x / 112), s.x))
    named = [f"{shape.colour} {shape.name}" for shape in in_order]
    listed = " and ".join(f"{'an' if name[0] in 'aeiou' else 'a'} {name}" for name in named)
    return f"a {scene.background} picture " + (f"with {listed}" if listed else "without big shapes")


def read_dots(scene: Scene, _: str) -> str:
    assert scene.dots is not None
    return COUNTING[len(set(scene.dots.centres))]


# What to do where these words are in a question; the first that fits.
READERS: dict[str, Callable[[Scene, str], str]] = {
    "sign": read_sign,
    "dots": read_dots,
    "olour": read_colour,
    "left": read_left,
    "big shapes": lambda scene, _: COUNTING[len(list(scene.big_shapes))],
}


@pytest.mark.parametrize("kind", Kind)
def test_answers_are_what_is_in_the_picture(kind: Kind) -> None:
    samples = [sample for sample in SAMPLES if sample.kind is kind]
    for sample in samples:
        first = sample.turns[0]
        assert first.answer == read_off(sample.scenes, first.question)


def test_the_follow_up_asks_the_same_of_another_shape() -> None:
    samples = [sample for sample in SAMPLES if sample.kind is Kind.FOLLOW_UP]
    for sample in samples:
        first, second = sample.turns
        (asked,), (then,) = (SHAPE_WORDS.findall(turn.question) for turn in sample.turns)
        assert asked != then
        assert "colour" in first.question.lower()
        assert second.answer == read_colour(sample.scenes[0], f"the big {then}?")


def test_a_question_is_of_the_kind_whose_words_it_has() -> None:
    patterns = {
        kind: "|".join(re.escape(each).replace(r"\{\}", r"\w+") for each in PHRASINGS[kind])
        for kind in Kind
    }
    for turn in (turn for sample in SAMPLES for turn in sample.turns):
        kinds = [kind for kind, words in patterns.items() if re.fullmatch(words, turn.question)]
        assert kinds == [turn.kind]


def test_descriptions_parse() -> None:
    thing = r"(a (?!orange)|an (?=orange))(\w+) (circle|square|triangle|star|cross|diamond)"
    grammar = re.compile(
        rf"a (grey|beige|cyan|brown) picture (without big shapes|with {thing}( and {thing})*)"
    )
    answers = [s.turns[0].answer for s in SAMPLES if s.kind is Kind.DESCRIBE]
    assert all(grammar.fullmatch(answer) for answer in answers)
    assert any("without" in answer for answer in answers)
    assert any(answer.count(" and ") >= 3 for answer in answers)


def test_a_scene_is_asked_everything_that_it_can_be_asked() -> None:
    for index in range(300):
        scene = draw_scene(source(f"all {index}"))
        asked = ask_all(scene, source(index))
        num_asked = Counter(turn.kind for turn in asked)
        assert set(num_asked) <= set(Kind) - {Kind.PAIR, Kind.FOLLOW_UP, Kind.TEXT}
        assert num_asked[Kind.WORD] + num_asked[Kind.NUMBER] == len(scene.signs)
        assert num_asked[Kind.ICON] == len(scene.icons)
        assert num_asked[Kind.SHAPE] == len(scene.big_shapes)
        assert num_asked[Kind.DOTS] == (scene.dots is not None)
        assert num_asked[Kind.COUNT] == num_asked[Kind.DESCRIBE] == 1
        rows = {int(shape.y / 112) for shape in scene.big_shapes}
        assert num_asked[Kind.LEFT] == len(scene.big_shapes) - len(rows)
        assert all(turn.answer == read_off((scene,), turn.question) for turn in asked)


STREET = Scene(
    columns=2,
    rows=1,
    width=224,
    height=112,
    background="cyan",
    big_shapes=(
        Shape("star", "red", 30, 50, 20),
        Shape("cross", "pink", 84, 60, 20),
    ),
    icons=(Shape("cross", "blue", 130, 20, 8),),
    signs=(Sign("407", "green", 140, 84), Sign("TEA", "white", 196, 84)),
    dots=Dots("black", ((180.0, 20.0), (190.0, 30.0), (200.0, 40.0))),
)


@pytest.mark.parametrize(
    ("kind", "answers"),
    [
        (Kind.WORD, ["TEA"]),
        (Kind.NUMBER, ["407"]),
        (Kind.DOTS, ["three"]),
        (Kind.ICON, ["blue"]),
        (Kind.SHAPE, ["red", "pink"]),
        (Kind.COUNT, ["two"]),
        (Kind.LEFT, ["star"]),
        (Kind.DESCRIBE, ["a cyan picture with a red star and a pink cross"]),
    ],
)
def test_a_scene_by_hand(kind: Kind, answers: list[str]) -> None:
    asked = ask_all(STREET, source(1))
    assert [turn.answer for turn in asked if turn.kind is kind] == answers


def test_what_has_no_answer_is_not_asked() -> None:
    empty = replace(STREET, big_shapes=(), icons=(), signs=(), dots=None)
    for kind in (Kind.WORD, Kind.NUMBER, Kind.DOTS, Kind.ICON, Kind.SHAPE, Kind.LEFT):
        assert ask(kind, empty, source(1)) is None
    assert ask_pair(STREET, STREET, source(1)) is None
    one_shape = replace(STREET, big_shapes=STREET.big_shapes[:1])
    assert ask_twice(one_shape, source(1)) is None
    assert next(turn.answer for turn in ask_all(empty, source(1))) == "zero"


def test_numbers_up_to_nine_are_asked_for() -> None:
    turns = {ask_text(source(f"text {index}")) for index in range(400)}
    assert {turn.answer for turn in turns} == set(COUNTING) - {"zero"}
    assert Turn(Kind.TEXT, "What follows eight?", "nine") in turns
