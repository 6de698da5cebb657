"""How fast something can go: the best that it has lately shown.

A language replica does far more tokens a second where prompts are long and batches full than where
one answer is decoded alone, so what it does on average says little of what it could do.
"""

WINDOW_SECONDS = 1.0
HALF_LIFE_SECONDS = 60.0


class BestRate:
    """The highest rate over a second of measured time, forgotten slowly."""

    def __init__(self) -> None:
        self.per_second = 0.0
        """0 before a second was measured."""
        self._amount = 0.0
        self._seconds = 0.0

    def add(self, amount: float, seconds: float) -> None:
        """Take note of an amount and of the time that it took, which may be none."""
        self._amount += amount
        self._seconds += seconds
        if self._seconds < WINDOW_SECONDS:
            return
        kept = 0.5 ** (self._seconds / HALF_LIFE_SECONDS)
        self.per_second = max(self._amount / self._seconds, self.per_second * kept)
        self._amount = self._seconds = 0.0
