"""The published rule that decides which tiles keep 256 visual tokens and which get 64.

The router applies it to the gate's scores, once per request, and keeps the mask: every retry and
every resume uses the same one. Compress tile i iff p_i > quantile_q(p) and p_i >= the absolute
threshold, in float32 throughout. Because the first comparison is strict, a lone tile is never
compressed, and tiles tied at the quantile keep full resolution.

Source: `modeling_internvl_chat.py` of the published Flash checkpoints; the quantile is that of
`torch.quantile(..., interpolation="linear")`, bit for bit. NumPy's own differs in the last bit.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from common.types import ResolutionScope


@dataclass(frozen=True, slots=True)
class ResolutionThresholds:
    """Thresholds of a Flash checkpoint.

    Attributes:
        relative: Quantile of the scores above which tiles may be compressed, 0 to 1.
        absolute: Lowest score of a compressed tile, 0 to 1.
    """

    relative: float
    absolute: float


def linear_quantile(scores: NDArray[np.float32], q: float) -> np.float32:
    """Quantile with linear interpolation, equal to `torch.quantile` in float32.

    Args:
        scores: [n] float32, n >= 1, none of them NaN.
        q: Quantile, 0 to 1.
    """
    ordered = np.sort(scores)
    rank = np.float32(q) * np.float32(len(ordered) - 1)
    below = int(rank)
    above = int(np.ceil(rank))
    weight = np.float32(rank - np.float32(below))
    start, end = ordered[below], ordered[above]
    # torch.lerp counts from the nearer end and rounds once per fused multiply-add.
    step = np.float64(end - start)
    if weight < np.float32(0.5):
        return np.float32(np.float64(start) + np.float64(weight) * step)
    return np.float32(np.float64(end) - step * np.float64(np.float32(1) - weight))


def compress_mask(
    scores: Sequence[float], thresholds: ResolutionThresholds, use_quantile: bool
) -> tuple[bool, ...]:
    """Apply the rule to one group of tiles.

    Args:
        scores: Probability of "compress" per tile. A tile with NaN keeps full resolution and has no
            say in the quantile; in the published code it would keep all others from compression.
        thresholds: The checkpoint's thresholds.
        use_quantile: Whether the relative threshold applies too.
    """
    values = np.asarray(scores, dtype=np.float32)
    mask = values >= np.float32(thresholds.absolute)
    known = values[~np.isnan(values)]
    if use_quantile and len(known):
        mask &= values > linear_quantile(known, thresholds.relative)
    return tuple(bool(compressed) for compressed in mask)


def decide(
    scores_by_image: Sequence[Sequence[float]],
    thresholds: ResolutionThresholds | None,
    scope: ResolutionScope,
) -> tuple[tuple[bool, ...], ...]:
    """Decide every tile of the given pictures.

    Args:
        scores_by_image: For each picture its tiles' scores, in tile order.
        thresholds: None for a checkpoint without a gate: nothing is compressed.
        scope: With `REQUEST` the pictures must be all those of the request.
    """
    if thresholds is None or scope is ResolutionScope.OFF:
        return tuple((False,) * len(scores) for scores in scores_by_image)
    if scope is not ResolutionScope.REQUEST:
        use_quantile = scope is ResolutionScope.IMAGE
        return tuple(compress_mask(scores, thresholds, use_quantile) for scores in scores_by_image)
    flat = compress_mask([s for scores in scores_by_image for s in scores], thresholds, True)
    remaining = iter(flat)
    return tuple(tuple(next(remaining) for _ in scores) for scores in scores_by_image)
