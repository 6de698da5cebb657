"""How many rounds of a benchmark there is time for: a slow machine takes fewer, not longer."""

import math
from collections.abc import Callable


class RoundBudget:
    """Says before each round whether it would end in time.

    Args:
        limit_seconds: From now to the end of the last round; the first one always takes place.
        clock: Seconds, monotonic.
    """

    def __init__(self, limit_seconds: float, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._ends_at = clock() + limit_seconds
        self._round_began_at = -math.inf
        self._longest_seconds = 0.0

    def begin_round(self) -> bool:
        """Begin a round, if one as long as the longest so far would end in time."""
        now = self._clock()
        if math.isfinite(self._round_began_at):
            self._longest_seconds = max(self._longest_seconds, now - self._round_began_at)
        if self._longest_seconds and now + self._longest_seconds > self._ends_at:
            return False
        self._round_began_at = now
        return True
