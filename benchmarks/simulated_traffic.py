"""Pictures as they come in: sizes with a heavy tail, some pictures far more often than others."""

from dataclasses import dataclass

import numpy as np

from benchmarks.simulated_replica import Job

MOST_TILES = 40
TAIL_EXPONENT = 1.2
# How far true cost is from the tile count, as a standard deviation of its logarithm.
COST_SPREAD = 0.1


@dataclass(frozen=True, slots=True)
class Traffic:
    """What arrives.

    Attributes:
        num_jobs: Pictures.
        load: Work that arrives for each unit that the replicas could do.
        num_pictures: Different ones, asked for by Zipf's law; 0 if all differ.
    """

    num_jobs: int
    load: float
    num_pictures: int = 0


def make_jobs(traffic: Traffic, total_rate: float, seed: int) -> list[Job]:
    """Draw pictures with Poisson arrivals, in order.

    Args:
        traffic: What arrives.
        total_rate: Tiles a second that all replicas can do.
        seed: Of all draws.
    """
    draws = np.random.default_rng(seed)
    num_jobs = traffic.num_jobs
    tiles = _sizes(draws, max(num_jobs, traffic.num_pictures))
    keys = np.arange(num_jobs)
    if traffic.num_pictures:
        popularity = 1 / np.arange(1, traffic.num_pictures + 1)
        popularity /= popularity.sum()
        keys = draws.choice(traffic.num_pictures, num_jobs, p=popularity)
        tiles = tiles[: traffic.num_pictures][keys]
    work = tiles * draws.lognormal(-(COST_SPREAD**2) / 2, COST_SPREAD, num_jobs)
    arrivals = np.cumsum(draws.exponential(work.mean() / (traffic.load * total_rate), num_jobs))
    names = draws.integers(0, 1 << 63, max(num_jobs, traffic.num_pictures))
    return [
        Job(float(at), int(size), float(cost), int(names[key]))
        for at, size, cost, key in zip(arrivals, tiles, work, keys, strict=True)
    ]


def _sizes(draws: np.random.Generator, num: int) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
    """Tiles by a bounded Pareto law."""
    cut = 1 - MOST_TILES**-TAIL_EXPONENT
    sizes = (1 - draws.random(num) * cut) ** (-1 / TAIL_EXPONENT)
    return np.floor(sizes).astype(np.int64)
