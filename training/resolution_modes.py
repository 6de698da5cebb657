"""The ways to decide the tiles' resolution that an evaluation compares, and what each saves."""

from collections.abc import Sequence
from enum import StrEnum
from math import floor

from common.resolution_rule import ResolutionThresholds, decide
from common.types import ResolutionScope

ScoresByImage = Sequence[Sequence[float]]
Masks = tuple[tuple[bool, ...], ...]


class Mode(StrEnum):
    """A scope of the published rule, or every tile compressed."""

    OFF = "off"
    REQUEST = "request"
    IMAGE = "image"
    ABSOLUTE = "absolute"
    ALL_COMPRESSED = "all"


def choose_masks(mode: Mode, scores: ScoresByImage, thresholds: ResolutionThresholds) -> Masks:
    """Decide every tile of one request.

    Args:
        mode: How.
        scores: For each picture its tiles' scores.
        thresholds: Of the checkpoint.
    """
    if mode is Mode.ALL_COMPRESSED:
        return tuple((True,) * len(tiles) for tiles in scores)
    return decide(scores, thresholds, ResolutionScope(mode))


def most_compressed(mode: Mode, tiles: Sequence[int], quantile: float) -> int:
    """Count the tiles that a mode can compress at most, whatever their scores are.

    Of n different scores, n - 1 - floor(q (n - 1)) exceed the quantile.

    Args:
        mode: Which one.
        tiles: Of each picture of one request.
        quantile: The checkpoint's relative threshold.
    """

    def above_quantile(num_tiles: int) -> int:
        return num_tiles - 1 - floor(quantile * (num_tiles - 1)) if num_tiles else 0

    if mode is Mode.OFF:
        return 0
    if mode is Mode.REQUEST:
        return above_quantile(sum(tiles))
    if mode is Mode.IMAGE:
        return sum(map(above_quantile, tiles))
    return sum(tiles)
