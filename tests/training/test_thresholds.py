"""The chosen thresholds keep most answers at half of the tokens, by trying every pair."""

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import pytest
import torch

from common.model_config import load_model_config
from common.resolution_rule import ResolutionThresholds, compress_mask
from common.tiling import TileGrid
from training.build_checkpoint import THRESHOLDS
from training.evaluate import conversation, evaluate
from training.pictures import draw_samples
from training.resolution_modes import Mode
from training.served_model import ResolvedQuestion, ServedModel
from training.thresholds import (
    ABSOLUTE,
    MOST_TOKENS_LEFT,
    RELATIVE,
    VALIDATION_SEED,
    choose_thresholds,
    encode_samples,
    tokens_left,
)
from vision_service.images import EncodedImage, EncodeTimings

NUM_SAMPLES = 44
Score = Callable[[random.Random], float]


class Oracle(ServedModel):
    """Scores by chance, and answers rightly where not too many tiles are compressed."""

    def __init__(self, model_dir: Path, score: Score) -> None:
        self.config = load_model_config(model_dir)
        samples = islice(draw_samples(VALIDATION_SEED), NUM_SAMPLES)
        self._answers = {
            (conversation(sample), tuple(sample.files())): sample.turns[-1].answer
            for sample in samples
        }
        self._score = score

    def encode(self, pictures: Sequence[bytes]) -> list[EncodedImage]:
        return [self._encode(picture) for picture in pictures]

    def answer(self, questions: Iterable[ResolvedQuestion]) -> list[str]:
        return [
            self._answers[each.messages, tuple(image.image_key for image in each.images)]
            if self.is_right(each.compressed)
            else "nothing"
            for each in questions
        ]

    @staticmethod
    def is_right(compressed: Sequence[Sequence[bool]]) -> bool:
        tiles = [tile for mask in compressed for tile in mask]
        return sum(tiles) <= 0.72 * len(tiles)

    def _encode(self, picture: bytes) -> EncodedImage:
        source = random.Random(picture)  # noqa: S311  # scores, not secrets
        num_tiles = source.choice((1, 3, 5, 7))
        scores = tuple(self._score(source) for _ in range(num_tiles))
        grid = TileGrid(num_tiles, 1, has_thumbnail=False)
        return EncodedImage(picture, grid, scores, torch.empty(0), EncodeTimings(0, 0, 0))


@dataclass(frozen=True, slots=True)
class Tried:
    """A pair, the tokens that it leaves, the answers that stay right."""

    pair: tuple[float, float]
    left: float
    right: float


def try_all(oracle: Oracle) -> list[Tried]:
    drawn = [sample.files() for sample in islice(draw_samples(VALIDATION_SEED), NUM_SAMPLES)]
    scores = [[p for image in oracle.encode(files) for p in image.scores] for files in drawn]
    several = [each for each in scores if len(each) > 1]
    return [try_pair(oracle, several, (q, p)) for q in RELATIVE for p in ABSOLUTE]


def try_pair(oracle: Oracle, scores: list[list[float]], pair: tuple[float, float]) -> Tried:
    thresholds = ResolutionThresholds(*pair)
    masks = [compress_mask(each, thresholds, use_quantile=True) for each in scores]
    tokens = [4 if compressed else 16 for mask in masks for compressed in mask]
    right = sum(oracle.is_right([mask]) for mask in masks)
    return Tried(pair, sum(tokens) / (16 * len(tokens)), right / len(masks))


def even(source: random.Random) -> float:
    return 0.3 + 0.7 * source.random()


def high(source: random.Random) -> float:
    return 0.55 + 0.4 * source.random()


@pytest.mark.parametrize("score", [even, high])
def test_the_pair_keeps_most_answers_of_those_that_leave_half(
    flash_model_dir: Path, score: Score
) -> None:
    oracle = Oracle(flash_model_dir, score)
    tried = try_all(oracle)
    few = [each for each in tried if each.left <= MOST_TOKENS_LEFT]
    assert few
    assert len({each.right for each in few}) > 1
    chosen = choose_thresholds(oracle, NUM_SAMPLES)
    found = Tried(
        (chosen.thresholds.relative, chosen.thresholds.absolute),
        chosen.tokens_left,
        chosen.accuracy,
    )
    assert found in few
    assert found.right == max(each.right for each in few)


def test_without_such_a_pair_the_fewest_tokens_count(flash_model_dir: Path) -> None:
    oracle = Oracle(flash_model_dir, lambda source: 0.6 * source.random())
    tried = try_all(oracle)
    assert min(each.left for each in tried) > MOST_TOKENS_LEFT
    chosen = choose_thresholds(oracle, NUM_SAMPLES)
    assert chosen.tokens_left == min(each.left for each in tried)
    assert chosen.accuracy == max(e.right for e in tried if e.left == chosen.tokens_left)
    assert chosen.tokens_left < max(each.left for each in tried)


@pytest.fixture(scope="module")
def model(lively_dir: Path) -> ServedModel:
    return ServedModel(lively_dir)


def test_tokens_are_those_of_an_evaluation(model: ServedModel) -> None:
    encoded = encode_samples(model, 22)
    verdicts = [v for v in evaluate(model, 22, VALIDATION_SEED) if v.num_tiles > 1]
    assert [each.sample.kind for each in encoded] == [verdict.kind for verdict in verdicts]
    tiles = sum(verdict.num_tiles for verdict in verdicts)
    compressed = sum(verdict.compressed[Mode.REQUEST] for verdict in verdicts)
    left = tokens_left(model, encoded, THRESHOLDS)
    assert left == (16 * tiles - 12 * compressed) / (16 * tiles)
    assert left < 1


def test_answers_are_judged_as_an_evaluation_judges_them(model: ServedModel) -> None:
    """A model with random weights answers nothing rightly, however its tiles are decided."""
    chosen = choose_thresholds(model, 11)
    assert chosen.accuracy == 0
    assert chosen.thresholds.relative in RELATIVE
    assert chosen.thresholds.absolute in ABSOLUTE
    assert chosen.tokens_left == tokens_left(model, encode_samples(model, 11), chosen.thresholds)
