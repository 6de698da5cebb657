"""In one process, answers are those of the reference, computed one tile and token at a time."""

from itertools import islice
from pathlib import Path

import pytest

from common.conversation import TextPart
from common.types import ResolutionScope
from tests.reference import flash_reference
from tests.reference.conversation import message
from training.build_checkpoint import THRESHOLDS
from training.evaluate import conversation
from training.pictures import Sample, draw_samples
from training.resolution_modes import Mode, choose_masks
from training.served_model import MAX_ANSWER_TOKENS, ResolvedQuestion, ServedModel
from training.vocabulary import Kind

DRAWN = {sample.kind: sample for sample in islice(draw_samples(3), len(Kind))}
SAMPLES = [DRAWN[kind] for kind in (Kind.PAIR, Kind.FOLLOW_UP, Kind.TEXT)]


@pytest.fixture(scope="module")
def model(flash_model_dir: Path) -> ServedModel:
    return ServedModel(flash_model_dir)


def reference_text(model_dir: Path, sample: Sample, scope: ResolutionScope) -> str:
    files = sample.files()
    messages = tuple(
        message(said.role, *(p.text if isinstance(p, TextPart) else files[p.image_indexes[0]]
                             for p in said.parts))
        for said in conversation(sample)
    )  # fmt: skip
    return flash_reference.answer(model_dir, messages, MAX_ANSWER_TOKENS, scope).text


@pytest.mark.parametrize("mode", [Mode.OFF, Mode.REQUEST, Mode.IMAGE, Mode.ABSOLUTE])
def test_answers_are_those_of_the_reference(
    flash_model_dir: Path, model: ServedModel, mode: Mode
) -> None:
    questions = []
    for sample in SAMPLES:
        images = tuple(model.encode(sample.files()))
        masks = choose_masks(mode, [image.scores for image in images], THRESHOLDS)
        questions.append(ResolvedQuestion(conversation(sample), images, masks))
    scope = ResolutionScope(mode)
    wanted = [reference_text(flash_model_dir, each, scope) for each in SAMPLES]
    assert model.answer(questions) == wanted


def test_no_question_has_no_answer(model: ServedModel) -> None:
    assert model.encode([]) == []
    assert model.answer([]) == []
