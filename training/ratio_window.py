"""From loss ratios to labels: a ratio is compared with a percentile of the recent ones.

Where it is from: paper 2508.18265, section 2.3. Neither the percentile nor the length of the window
is published; both are ours.
"""

from collections import deque
from collections.abc import Sequence

import numpy as np

COMPRESS, KEEP = 0, 1  # classes of the gate
LENGTH = 1024
PERCENTILE = 60.0
# Added to both losses: a loss near zero would make any ratio of it huge.
LOSS_FLOOR = 0.02


def loss_ratio(compressed_loss: float, full_loss: float) -> float:
    """How much compressing one tile costs: 1 for nothing.

    Args:
        compressed_loss: Divergence from the reference with that tile compressed.
        full_loss: The same with no tile compressed.
    """
    return (compressed_loss + LOSS_FLOOR) / (full_loss + LOSS_FLOOR)


class RatioWindow:
    """The latest ratios, and the labels that they give."""

    def __init__(self, length: int = LENGTH, percentile: float = PERCENTILE) -> None:
        """Start empty.

        Args:
            length: Ratios that are remembered.
            percentile: Of them that separates both classes, 0 to 100.
        """
        self._recent: deque[float] = deque(maxlen=length)
        self._percentile = percentile

    def label(self, ratios: Sequence[float]) -> list[int]:
        """Remember the ratios of one batch, then label them: below the percentile, compress."""
        self._recent.extend(ratios)
        threshold = float(np.percentile(self._recent, self._percentile))
        return [COMPRESS if ratio < threshold else KEEP for ratio in ratios]
