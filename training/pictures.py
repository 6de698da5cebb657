"""The endless seeded source of pictures and questions: whole conversations with exact answers.

Equal seeds, equal samples, equal bytes. Training draws from other seeds, so every seed is held out.
"""

import io
import random
from collections.abc import Iterator
from dataclasses import dataclass

from training.drawing import draw_picture
from training.questions import Turn, ask, ask_pair, ask_text, ask_twice
from training.scenes import Scene, draw_scene
from training.vocabulary import Kind

KINDS = tuple(Kind)
# A scene that cannot be asked a kind of question is drawn again.
MAX_DRAWS = 1000


@dataclass(frozen=True, slots=True)
class Sample:
    """One conversation.

    Attributes:
        scenes: None, one or two pictures.
        turns: The last one is judged.
    """

    scenes: tuple[Scene, ...]
    turns: tuple[Turn, ...]

    @property
    def kind(self) -> Kind:
        """What its last turn asks for."""
        return self.turns[-1].kind

    def files(self) -> list[bytes]:
        """Its pictures as PNG files, as a client would send them."""
        return [picture_file(scene) for scene in self.scenes]


def draw_samples(seed: int) -> Iterator[Sample]:
    """Draw samples without end, every kind as often as every other."""
    index = 0
    while True:
        source = random.Random(f"samples {seed} {index}")  # noqa: S311  # drawing, not secrets
        yield draw_sample(KINDS[index % len(KINDS)], source)
        index += 1


def draw_sample(kind: Kind, source: random.Random) -> Sample:
    """Draw one sample of a kind.

    Raises:
        ValueError: No scene can be asked this; it cannot happen with the scenes as they are.
    """
    if kind is Kind.TEXT:
        return Sample((), (ask_text(source),))
    for _ in range(MAX_DRAWS):
        scenes = tuple(draw_scene(source) for _ in range(2 if kind is Kind.PAIR else 1))
        turns = _turns(kind, scenes, source)
        if turns is not None:
            return Sample(scenes, turns)
    raise ValueError(f"no scene for a question of kind {kind}")


def picture_file(scene: Scene) -> bytes:
    """Draw a scene as the PNG file that a client would send."""
    file = io.BytesIO()
    draw_picture(scene).save(file, "PNG")
    return file.getvalue()


def _turns(kind: Kind, scenes: tuple[Scene, ...], source: random.Random) -> tuple[Turn, ...] | None:
    if kind is Kind.PAIR:
        turn = ask_pair(scenes[0], scenes[1], source)
        return None if turn is None else (turn,)
    if kind is Kind.FOLLOW_UP:
        return ask_twice(scenes[0], source)
    turn = ask(kind, scenes[0], source)
    return None if turn is None else (turn,)
