"""Which thresholds a trained gate ships with: the most answers kept at half of the visual tokens.

Chosen on samples of a validation seed, by the published rule over the tiles of one request.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice, product

from common.resolution_rule import ResolutionThresholds, decide
from common.types import ResolutionScope
from training.evaluate import conversation
from training.pictures import Sample, draw_samples
from training.served_model import ResolvedQuestion, ServedModel, TileMask
from vision_service.images import EncodedImage

VALIDATION_SEED = 1000
NUM_SAMPLES = 880
RELATIVE = (0.15, 0.18, 0.2, 0.22, 0.25, 0.28)
ABSOLUTE = (0.3, 0.4, 0.5, 0.6)
# A little below one half, so that another seed stays below it too.
MOST_TOKENS_LEFT = 0.492

Masks = tuple[TileMask, ...]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A pair of thresholds and what it does.

    Attributes:
        thresholds: The pair.
        tokens_left: Visual tokens after ÷ before.
        accuracy: Share of exact answers.
    """

    thresholds: ResolutionThresholds
    tokens_left: float
    accuracy: float


@dataclass(frozen=True, slots=True)
class EncodedSample:
    """A sample of two or more tiles with its encoded pictures."""

    sample: Sample
    images: tuple[EncodedImage, ...]

    def masks(self, thresholds: ResolutionThresholds) -> Masks:
        """Decide every tile by the published rule."""
        scores = [image.scores for image in self.images]
        return decide(scores, thresholds, ResolutionScope.REQUEST)


def choose_thresholds(model: ServedModel, num_samples: int = NUM_SAMPLES) -> Candidate:
    """Find the pair that keeps most answers at half of the tokens.

    Without a pair that reaches half, the one with the fewest tokens.
    """
    encoded = encode_samples(model, num_samples)
    pairs = [ResolutionThresholds(*pair) for pair in product(RELATIVE, ABSOLUTE)]
    left = {pair: tokens_left(model, encoded, pair) for pair in pairs}
    most = max(MOST_TOKENS_LEFT, min(left.values()))
    few = [pair for pair in pairs if left[pair] <= most]
    right = _right_answers(model, encoded, few)
    judged = [Candidate(pair, left[pair], right[pair] / len(encoded)) for pair in few]
    return max(judged, key=lambda candidate: (candidate.accuracy, candidate.tokens_left))


def encode_samples(model: ServedModel, num_samples: int) -> list[EncodedSample]:
    """Draw and encode the samples; those of a single tile cannot be compressed and are left out."""
    samples = list(islice(draw_samples(VALIDATION_SEED), num_samples))
    files = [file for sample in samples for file in sample.files()]
    encoded = iter(model.encode(files))
    found = [EncodedSample(each, tuple(next(encoded) for _ in each.scenes)) for each in samples]
    return [each for each in found if sum(image.grid.num_tiles for image in each.images) > 1]


def tokens_left(
    model: ServedModel, encoded: Sequence[EncodedSample], thresholds: ResolutionThresholds
) -> float:
    """Visual tokens after ÷ before."""
    tiles = [tile for each in encoded for mask in each.masks(thresholds) for tile in mask]
    full, compressed = model.config.full_tokens_per_tile, model.config.compressed_tokens_per_tile
    return sum(compressed if tile else full for tile in tiles) / (full * len(tiles))


def _right_answers(
    model: ServedModel, encoded: Sequence[EncodedSample], pairs: Sequence[ResolutionThresholds]
) -> dict[ResolutionThresholds, int]:
    right = dict.fromkeys(pairs, 0)
    for each in encoded:
        masks = {pair: each.masks(pair) for pair in pairs}
        distinct = list(dict.fromkeys(masks.values()))
        said = conversation(each.sample)
        texts = model.answer(ResolvedQuestion(said, each.images, mask) for mask in distinct)
        wanted = each.sample.turns[-1].answer
        told = {mask: text == wanted for mask, text in zip(distinct, texts, strict=True)}
        for pair, mask in masks.items():
            right[pair] += told[mask]
    return right
