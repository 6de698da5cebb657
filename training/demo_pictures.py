"""How many of the demo's pictures a checkpoint answers rightly, without starting a cluster."""

from dataclasses import dataclass
from pathlib import Path

import yaml

from common.conversation import ImageGroupPart, PromptMessage, TextPart
from common.resolution_rule import decide
from common.types import ResolutionScope, Role
from training.served_model import ResolvedQuestion, ServedModel

QUESTIONS = Path("examples/pictures/questions.yaml")


@dataclass(frozen=True, slots=True)
class DemoPicture:
    """One question of the demo about one picture."""

    file: bytes
    question: str
    expected: str


def read_demo_pictures(questions: Path = QUESTIONS) -> list[DemoPicture]:
    """Read the demo's questions about single pictures; none where the demo is not there."""
    if not questions.is_file():
        return []
    return [
        DemoPicture(
            (questions.parent / entry["images"][0]).read_bytes(),
            entry["question"],
            entry["expected"],
        )
        for entry in yaml.safe_load(questions.read_text(encoding="utf-8"))
        if len(entry["images"]) == 1
    ]


def count_right(model: ServedModel, pictures: list[DemoPicture]) -> int:
    """Answer with the shipped rule, as the demo does, and count the exact answers."""
    thresholds = model.config.thresholds
    assert thresholds is not None  # noqa: S101  # an evaluation has checked it
    asked = []
    for picture, image in zip(
        pictures, model.encode([picture.file for picture in pictures]), strict=True
    ):
        said = PromptMessage(Role.USER, (ImageGroupPart((0,)), TextPart(picture.question)))
        masks = decide([image.scores], thresholds, ResolutionScope.REQUEST)
        asked.append(ResolvedQuestion((said,), (image,), masks))
    answers = model.answer(asked)
    return sum(
        answer == picture.expected for answer, picture in zip(answers, pictures, strict=True)
    )
