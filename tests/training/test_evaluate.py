"""An evaluation asks as a client does, answers as a cluster does, and counts right."""

import itertools
import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from common.conversation import PromptMessage, TextPart
from common.errors import CheckpointError
from common.model_config import load_model_config
from common.resolution_rule import ResolutionThresholds, compress_mask
from common.tiling import TileGrid
from common.types import ResolutionScope, Role
from tests.reference import flash_reference
from tests.reference.conversation import message
from training.evaluate import Evaluation, conversation, evaluate, picture_file
from training.evaluation_report import EvaluationReport, Verdict
from training.questions import Sample, draw_samples
from training.resolution_modes import Mode, choose_masks, most_compressed
from training.served_model import MAX_ANSWER_TOKENS, ResolvedQuestion, ServedModel
from training.vocabulary import DETAIL_KINDS, Kind
from vision_service.images import EncodedImage, EncodeTimings

SAMPLES = {sample.kind: sample for sample in itertools.islice(draw_samples(3), len(Kind))}
THIRD = ResolutionThresholds(relative=1 / 3, absolute=0.5)


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


def reference_text(model_dir: Path, sample: Sample, scope: ResolutionScope) -> str:
    files = [picture_file(scene) for scene in sample.scenes]
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
    samples = [SAMPLES[kind] for kind in (Kind.PAIR, Kind.FOLLOW_UP, Kind.TEXT)]
    questions = []
    for sample in samples:
        images = tuple(model.encode([picture_file(scene) for scene in sample.scenes]))
        masks = choose_masks(mode, [image.scores for image in images], THIRD)
        questions.append(ResolvedQuestion(conversation(sample), images, masks))
    wanted = [reference_text(flash_model_dir, each, ResolutionScope(mode)) for each in samples]
    assert model.answer(questions) == wanted


class Sceptic:
    """Knows every answer, but only if nothing is compressed; every tile scores the same."""

    def __init__(self, model_dir: Path, samples: Sequence[Sample], num_tiles: int) -> None:
        self.config = load_model_config(model_dir)
        self.asked: list[ResolvedQuestion] = []
        self._answers = {conversation(sample): sample.turns[-1].answer for sample in samples}
        self._num_tiles = num_tiles

    def encode(self, pictures: Sequence[bytes]) -> list[EncodedImage]:
        grid = TileGrid(self._num_tiles, 1, has_thumbnail=False)
        scores = tuple(0.5 + index / 100 for index in range(self._num_tiles))
        timings = EncodeTimings(0, 0, 0)
        return [EncodedImage(b"", grid, None, scores, timings) for _ in pictures]

    def answer(self, questions: Iterable[ResolvedQuestion]) -> list[str]:
        self.asked = list(questions)
        return [
            "" if any(map(any, asked.compressed)) else self._answers[asked.messages]
            for asked in self.asked
        ]


def test_an_answer_counts_in_the_modes_in_which_it_is_right(flash_model_dir: Path) -> None:
    samples = [SAMPLES[Kind.SHAPE], SAMPLES[Kind.TEXT]]
    seen, unseen = Evaluation(Sceptic(flash_model_dir, samples, 4)).judge(samples)
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


@pytest.mark.parametrize("quantile", [0.0, 0.2, 1 / 3, 0.5, 0.75, 1.0])
@pytest.mark.parametrize("num_tiles", range(1, 14))
def test_the_cap_is_what_the_rule_does_to_certain_tiles(quantile: float, num_tiles: int) -> None:
    scores = [0.9 + index / 1000 for index in range(num_tiles)]
    mask = compress_mask(scores, ResolutionThresholds(quantile, 0.0), use_quantile=True)
    assert most_compressed(Mode.REQUEST, [num_tiles], quantile) == sum(mask)
    assert most_compressed(Mode.IMAGE, [num_tiles] * 2, quantile) == 2 * sum(mask)


def verdict(kind: Kind, num_tiles: int, right: str) -> Verdict:
    """Right in the modes whose initials are given; half of the tiles compressed by request."""
    compressed = dict.fromkeys(Mode, 0) | {Mode.REQUEST: num_tiles // 2}
    return Verdict(
        kind, num_tiles, {mode: mode[0] in right.split() for mode in Mode}, compressed, compressed
    )


def test_goals_are_what_the_verdicts_say(flash_model_dir: Path) -> None:
    verdicts = [
        *(verdict(Kind.WORD, 4, "o r i"), verdict(Kind.WORD, 4, "o"), verdict(Kind.SHAPE, 4, "")),
        *(verdict(Kind.SHAPE, 1, "o r i a"), verdict(Kind.TEXT, 0, "o r i a")),
    ]
    result = EvaluationReport(load_model_config(flash_model_dir), verdicts).result()
    everything, worst, kept, left, gain, demo = result.goals
    assert everything.value == 4 / 5
    assert worst.value == 1 / 2
    assert kept.value == 1 / 2
    assert left.value == (16 * 6 + 4 * 6) / (16 * 12)
    assert gain.value == 1
    assert (demo.value, bool(demo.reason)) == (None, True)
    by_name = {row["figure"]: row for row in result.rows}
    assert by_name["exact: word"]["share"] == 2 / 5
    assert by_name["tokens before: all"]["off"] == 16 * 13
    assert by_name["exact: pair"]["off"] is None


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
