"""When requests come: a gamma process, which is Poisson's at burstiness 1."""

import math
import random


def arrival_offsets(
    num_arrivals: int, per_second: float, burstiness: float, draws: random.Random
) -> list[float]:
    """Draw when each arrival is due.

    Args:
        num_arrivals: How many.
        per_second: Mean rate; infinity has all of them come at once.
        burstiness: Shape of the gaps' gamma distribution: 1 for Poisson's, less for bursts, more
            for even gaps.
        draws: Where the gaps come from.

    Returns:
        Seconds from the first one, in order; the first is 0.
    """
    if math.isinf(per_second):
        return [0.0] * num_arrivals
    offsets = [0.0]
    for _ in range(num_arrivals - 1):
        gap = draws.gammavariate(burstiness, 1.0 / (per_second * burstiness))
        offsets.append(offsets[-1] + gap)
    return offsets[:num_arrivals]
