"""An evaluation asks as a client does, and judges each way of deciding the tiles."""

import itertools
import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from common.conversation import PromptMessage, TextPart
from common.errors import CheckpointError
from common.model_config import load_model_config
from common.tiling import TileGrid
from common.types import Role
from training.evaluate import Evaluation, conversation, evaluate
from training.evaluation_report import EvaluationReport
from training.pictures import Sample, draw_samples
from training.resolution_modes import Mode
from training.served_model import ResolvedQuestion, ServedModel
from training.vocabulary import DETAIL_KINDS, Kind
from vision_service.images import EncodedImage, EncodeTimings

SAMPLES = {sample.kind: sample for sample in itertools.islice(draw_samples(3), len(Kind))}


@pytest.fixture(scope="module")
def model(flash_model_dir: Path) -> ServedModel:
    return ServedModel(flash_model_dir)


def written(said: PromptMessage) -> str:
    """A message as one string; pictures by position in angle brackets."""
    return "".join(
        part.text if isinstance(part, TextPart) else f"<{part.image_indexes[0]}>"
        for part in said.parts
    )


def test_one_picture_comes_before_the_question() -> None:
    (asked,) = conversation(SAMPLES[Kind.SHAPE])
    assert written(asked) == f"<0>{SAMPLES[Kind.SHAPE].turns[0].question}"


def test_two_pictures_are_announced() -> None:
    (asked,) = conversation(SAMPLES[Kind.PAIR])
    assert written(asked) == f"Image-1: <0>Image-2: <1>{SAMPLES[Kind.PAIR].turns[0].question}"


def test_a_second_question_follows_the_right_first_answer() -> None:
    sample = SAMPLES[Kind.FOLLOW_UP]
    first, told, second = conversation(sample)
    assert (first.role, told.role, second.role) == (Role.USER, Role.ASSISTANT, Role.USER)
    assert written(first) == f"<0>{sample.turns[0].question}"
    assert written(told) == sample.turns[0].answer
    assert written(second) == sample.turns[1].question


class Sceptic(ServedModel):
    """Knows every answer, but only if nothing is compressed; later tiles score a little higher."""

    def __init__(self, model_dir: Path, samples: Sequence[Sample], num_tiles: int) -> None:
        self.config = load_model_config(model_dir)
        self.asked: list[ResolvedQuestion] = []
        self._answers = {conversation(sample): sample.turns[-1].answer for sample in samples}
        self._num_tiles = num_tiles

    def encode(self, pictures: Sequence[bytes]) -> list[EncodedImage]:
        grid = TileGrid(self._num_tiles, 1, has_thumbnail=False)
        scores = tuple(0.5 + index / 100 for index in range(self._num_tiles))
        timings = EncodeTimings(0, 0, 0)
        return [EncodedImage(b"", grid, scores, torch.empty(0), timings) for _ in pictures]

    def answer(self, questions: Iterable[ResolvedQuestion]) -> list[str]:
        self.asked = list(questions)
        return [
            "" if any(map(any, asked.compressed)) else self._answers[asked.messages]
            for asked in self.asked
        ]


def test_an_answer_counts_in_the_modes_in_which_it_is_right(flash_model_dir: Path) -> None:
    samples = [SAMPLES[Kind.SHAPE], SAMPLES[Kind.TEXT]]
    seen, unseen = Evaluation(Sceptic(flash_model_dir, samples, 4)).judge(samples)
    assert (seen.kind, unseen.kind) == (Kind.SHAPE, Kind.TEXT)
    assert seen.right == {mode: mode is Mode.OFF for mode in Mode}
    assert list(seen.compressed.values()) == [0, 2, 2, 4, 4]
    assert list(seen.most_compressed.values()) == [0, 2, 2, 4, 4]
    assert all(unseen.right.values())
    assert unseen.num_tiles == 0


def test_equal_decisions_are_answered_once(flash_model_dir: Path) -> None:
    sceptic = Sceptic(flash_model_dir, [SAMPLES[Kind.SHAPE]], 4)
    Evaluation(sceptic).judge([SAMPLES[Kind.SHAPE]])
    assert len({asked.compressed for asked in sceptic.asked}) == len(sceptic.asked) == 3


def test_a_letter_more_is_wrong(flash_model_dir: Path) -> None:
    sample = SAMPLES[Kind.SHAPE]
    longer = replace(sample, turns=(replace(sample.turns[0], answer="red."),))
    sample = replace(sample, turns=(replace(sample.turns[0], answer="red"),))
    (verdict,) = Evaluation(Sceptic(flash_model_dir, [longer], 1)).judge([sample])
    assert not verdict.right[Mode.OFF]


def test_every_kind_comes_equally_often_and_seeds_matter(model: ServedModel) -> None:
    verdicts = evaluate(model, 2 * len(Kind), seed=5)
    assert [each.kind for each in verdicts] == [*Kind, *Kind]
    assert {each.kind for each in verdicts} >= set(DETAIL_KINDS)
    assert verdicts == evaluate(model, 2 * len(Kind), seed=5)
    tiles = [each.num_tiles for each in verdicts]
    assert tiles != [each.num_tiles for each in evaluate(model, 2 * len(Kind), seed=6)]


def test_the_document_has_what_every_measurement_has(model: ServedModel, tmp_path: Path) -> None:
    result = EvaluationReport(model.config, evaluate(model, 3, seed=0)).result()
    result.write(tmp_path / "result.json")
    document = json.loads((tmp_path / "result.json").read_text())
    assert list(document) == ["machine", "versions", "rows", "goals"]
    assert len(document["goals"]) == 6


def test_a_checkpoint_without_a_gate_is_refused(plain_model_dir: Path) -> None:
    with pytest.raises(CheckpointError, match="no resolution router"):
        Evaluation(ServedModel(plain_model_dir))
