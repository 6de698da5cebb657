"""Questions about scenes, each with its one right answer.

An answer is computed from the scene, never from the picture; another reading of the same scene
in the tests checks it.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass

from training.scenes import TILE, Scene, Shape
from training.vocabulary import NUMBER_WORDS, PHRASINGS, Kind


@dataclass(frozen=True, slots=True)
class Turn:
    """One question and its answer."""

    kind: Kind
    question: str
    answer: str


def ask_text(source: random.Random) -> Turn:
    """Ask without a picture."""
    number = source.randrange(len(NUMBER_WORDS) - 1)
    question = source.choice(PHRASINGS[Kind.TEXT]).format(NUMBER_WORDS[number])
    return Turn(Kind.TEXT, question, NUMBER_WORDS[number + 1])


def ask_pair(first: Scene, second: Scene, source: random.Random) -> Turn | None:
    """Ask in which of two pictures a big shape is; None where no shape is in just one."""
    names = [{shape.name for shape in scene.big_shapes} for scene in (first, second)]
    differing = sorted(names[0] ^ names[1])
    if not differing:
        return None
    name = source.choice(differing)
    question = source.choice(PHRASINGS[Kind.PAIR]).format(name)
    return Turn(Kind.PAIR, question, "the first" if name in names[0] else "the second")


def ask(kind: Kind, scene: Scene, source: random.Random) -> Turn | None:
    """Ask one question of a kind in some phrasing; None where the scene has no answer."""
    facts = FACTS[kind](scene)
    if not facts:
        return None
    subject, answer = source.choice(facts)
    return Turn(kind, source.choice(PHRASINGS[kind]).format(subject), answer)


def ask_all(scene: Scene, source: random.Random) -> tuple[Turn, ...]:
    """Ask everything that the scene has an answer to, each in some phrasing."""
    return tuple(
        Turn(kind, source.choice(PHRASINGS[kind]).format(subject), answer)
        for kind, facts in FACTS.items()
        for subject, answer in facts(scene)
    )


def left_neighbour(scene: Scene, shape: Shape) -> Shape | None:
    """The nearest big shape to the left, in the same row of tiles."""
    left = [
        other
        for other in scene.big_shapes
        if other.y // TILE == shape.y // TILE and other.x < shape.x
    ]
    return max(left, key=lambda other: other.x, default=None)


def describe(scene: Scene) -> str:
    """The fixed grammar: background, then every big shape in reading order."""
    shapes = [f"{_article(shape.colour)} {shape.name}" for shape in scene.big_shapes]
    if not shapes:
        return f"a {scene.background} picture without big shapes"
    return f"a {scene.background} picture with " + " and ".join(shapes)


def _article(colour: str) -> str:
    return f"an {colour}" if colour == "orange" else f"a {colour}"


Facts = list[tuple[str, str]]


def _left(scene: Scene) -> Facts:
    pairs = [(shape, left_neighbour(scene, shape)) for shape in scene.big_shapes]
    return [(shape.name, other.name) for shape, other in pairs if other is not None]


def _dots(scene: Scene) -> Facts:
    return [] if scene.dots is None else [("", NUMBER_WORDS[len(scene.dots.centres)])]


# What a scene can be asked: (what fills the phrasing, the answer).
FACTS: dict[Kind, Callable[[Scene], Facts]] = {
    Kind.WORD: lambda scene: [(s.colour, s.text) for s in scene.signs if not s.is_number],
    Kind.NUMBER: lambda scene: [(s.colour, s.text) for s in scene.signs if s.is_number],
    Kind.DOTS: _dots,
    Kind.ICON: lambda scene: [(icon.name, icon.colour) for icon in scene.icons],
    Kind.SHAPE: lambda scene: [(shape.name, shape.colour) for shape in scene.big_shapes],
    Kind.COUNT: lambda scene: [("", NUMBER_WORDS[len(scene.big_shapes)])],
    Kind.LEFT: _left,
    Kind.DESCRIBE: lambda scene: [("", describe(scene))],
}


def ask_twice(scene: Scene, source: random.Random) -> tuple[Turn, ...] | None:
    """Ask the colour of a big shape, then of another one without naming colour again."""
    facts = FACTS[Kind.SHAPE](scene)
    if len(facts) < 2:
        return None
    (first, first_colour), (second, second_colour) = source.sample(facts, 2)
    question = source.choice(PHRASINGS[Kind.SHAPE]).format(first)
    more = source.choice(PHRASINGS[Kind.FOLLOW_UP]).format(second)
    return (
        Turn(Kind.SHAPE, question, first_colour),
        Turn(Kind.FOLLOW_UP, more, second_colour),
    )
