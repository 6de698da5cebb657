"""Draw the example pictures and write their questions: `python examples/make_pictures.py`.

Drawn by the source that the small model learned from, from a seed that training never used, and
three times as large as it is cut, to be looked at. The results are committed.
"""

import random
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import yaml

from training.drawing import draw_picture
from training.pictures import Sample, draw_samples
from training.questions import Turn, ask_pair
from training.scenes import Scene
from training.vocabulary import Kind

PICTURES = Path(__file__).parent / "pictures"
SEED = 20260901
ENLARGED = 3
HEADER = "# Questions about the pictures beside this file; each entry is one request.\n"


@dataclass(frozen=True, slots=True)
class Wanted:
    """One picture and its question.

    Attributes:
        name: Of the file, without its ending.
        kind: Of the question.
        grid: Columns and rows of tiles.
    """

    name: str
    kind: Kind
    grid: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Drawn:
    """A picture that was written.

    Attributes:
        file: Its name.
        scene: What is in it.
    """

    file: str
    scene: Scene


WANTED = (
    Wanted("signpost", Kind.WORD, (2, 2)),
    Wanted("number_plate", Kind.NUMBER, (3, 2)),
    Wanted("dots", Kind.DOTS, (2, 1)),
    Wanted("icons", Kind.ICON, (1, 2)),
    Wanted("shapes", Kind.SHAPE, (2, 3)),
    Wanted("neighbours", Kind.LEFT, (3, 2)),
    Wanted("counting", Kind.COUNT, (3, 1)),
    Wanted("scene", Kind.DESCRIBE, (2, 2)),
)


def enlarged(scene: Scene) -> Scene:
    """The same scene on a larger canvas of the same shape."""
    return replace(scene, width=ENLARGED * scene.width, height=ENLARGED * scene.height)


def things(scene: Scene) -> int:
    """How much is in a scene."""
    dots = 0 if scene.dots is None else len(scene.dots.centres)
    return len(scene.big_shapes) + len(scene.icons) + len(scene.signs) + dots


def find(wanted: Wanted, samples: list[Sample]) -> Sample:
    """The fullest picture among the samples of a kind on a grid."""
    fitting = [
        sample
        for sample in samples
        if sample.kind is wanted.kind
        and (sample.scenes[0].columns, sample.scenes[0].rows) == wanted.grid
    ]
    return max(fitting, key=lambda sample: things(sample.scenes[0]))


def pair_entry(first: Drawn, second: Drawn) -> dict[str, Any]:
    """A question about two of the pictures."""
    turn = ask_pair(first.scene, second.scene, random.Random(SEED))  # noqa: S311  # no secret
    if turn is None:
        raise ValueError("both pictures hold the same shapes")
    return entry((first.file, second.file), turn)


def entry(files: tuple[str, ...], turn: Turn) -> dict[str, Any]:
    """One request of the demo."""
    return {"images": list(files), "question": turn.question, "expected": turn.answer}


def main() -> None:
    """Draw every picture into `examples/pictures`."""
    samples = [sample for sample in islice(draw_samples(SEED), 2000) if sample.scenes]
    drawn: list[Drawn] = []
    entries: list[dict[str, Any]] = []
    for wanted in WANTED:
        sample = find(wanted, samples)
        drawn.append(Drawn(f"{wanted.name}.png", sample.scenes[0]))
        draw_picture(enlarged(sample.scenes[0])).save(PICTURES / drawn[-1].file, optimize=True)
        entries.append(entry((drawn[-1].file,), sample.turns[0]))
    entries.append(pair_entry(drawn[4], drawn[5]))
    text = yaml.safe_dump(entries, sort_keys=False, allow_unicode=True, width=100)
    (PICTURES / "questions.yaml").write_text(HEADER + text, encoding="utf-8")


if __name__ == "__main__":
    main()
