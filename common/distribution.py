"""How values are spread over buckets, as plain numbers: what a histogram exports.

Services note values where they arise, on paths where a microsecond counts; `metrics` modules
export them. The bounds below are those that operators know from other engines, with finer ones
at the lower end.
"""

from bisect import bisect_left

FIRST_TOKEN_SECONDS = (
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
    20.0, 40.0, 80.0, 160.0, 640.0, 2560.0,
)  # fmt: skip
TOKEN_SECONDS = (
    0.0005, 0.001, 0.002, 0.004, 0.006, 0.008, 0.01, 0.015, 0.02, 0.025, 0.03, 0.035, 0.04, 0.06,
    0.08, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 2.0, 4.0, 6.0, 8.0,
)  # fmt: skip
REQUEST_SECONDS = (
    0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0,
    40.0, 50.0, 60.0, 120.0, 240.0, 480.0, 960.0, 1920.0, 7680.0,
)  # fmt: skip
STAGE_SECONDS = (
    0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0,
)  # fmt: skip
TOKENS = tuple(float(digit * 10**power) for power in range(6) for digit in (1, 2, 5))
PIECES = tuple(float(1 << power) for power in range(9))


class Distribution:
    """Values noted so far, by bucket; one thread notes, any may read.

    Attributes:
        bounds: Upper bounds of the buckets, inclusive and ascending; above the last is one more.
        counts: Values in each bucket.
        total: Sum of the values.
    """

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    @property
    def num_values(self) -> int:
        """Values noted so far."""
        return sum(self.counts)

    def note(self, value: float, times: int = 1) -> None:
        """Add a value so many times."""
        self.counts[bisect_left(self.bounds, value)] += times
        self.total += value * times
