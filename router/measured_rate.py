"""How fast something goes, learned from what was done and the time that it took.

Used for replicas (work a busy second), for other routers' placements, and for how fast the router
itself is drained. What is long past counts for less, so that a change is followed.
"""


class MeasuredRate:
    """Amount a second, as a mean over the recent past.

    Args:
        half_life_seconds: After so much more measured time, what was measured counts for half.
    """

    def __init__(self, half_life_seconds: float) -> None:
        self._half_life_seconds = half_life_seconds
        self._amount = 0.0
        self._seconds = 0.0

    @property
    def seconds(self) -> float:
        """Time that the mean is over, decayed."""
        return self._seconds

    @property
    def amount(self) -> float:
        """What was measured in that time, decayed."""
        return self._amount

    def add(self, amount: float, seconds: float) -> None:
        """Take note of an amount and of the time that it took, which may be none."""
        kept = 0.5 ** (seconds / self._half_life_seconds)
        self._amount = self._amount * kept + amount
        self._seconds = self._seconds * kept + seconds

    def per_second(self, prior: float = 0.0, prior_seconds: float = 0.0) -> float:
        """The mean, beside an assumed rate that counts as if measured for so long.

        Returns:
            0 where nothing was measured and nothing is assumed.
        """
        seconds = self._seconds + prior_seconds
        return (self._amount + prior * prior_seconds) / seconds if seconds else 0.0
