"""How fast a router is emptied, and so when it is worth asking again."""

from router.measured_rate import MeasuredRate
from router.resources import Amounts, Resource

HALF_LIFE_SECONDS = 5.0
REFUSED_HALF_LIFE_SECONDS = 1.0
MIN_DELAY_SECONDS = 0.05
MAX_DELAY_SECONDS = 30.0


class Drain:
    """Rates at which what was held is released, while anything is held.

    Args:
        default_seconds: Delay to name before anything was released.
        now: Seconds, on the clock of all calls.
    """

    def __init__(self, default_seconds: float, now: float) -> None:
        self._default_seconds = default_seconds
        self._released = {resource: MeasuredRate(HALF_LIFE_SECONDS) for resource in Resource}
        self._refused = {resource: MeasuredRate(REFUSED_HALF_LIFE_SECONDS) for resource in Resource}
        self._at = now

    def advance(self, now: float, *, is_busy: bool) -> None:
        """Let time pass, in which something was held all along or nothing was."""
        seconds, self._at = now - self._at, now
        for resource in Resource:
            self._refused[resource].add(0.0, seconds)
            if is_busy:
                self._released[resource].add(0.0, seconds)

    def note_released(self, amounts: Amounts) -> None:
        """Note that a request has given back what it held."""
        for resource in Resource:
            self._released[resource].add(amounts.of(resource), 0.0)

    def delay(self, resource: Resource, wanted: int, excess: float) -> float:
        """When to come again, in seconds.

        Whoever was refused lately comes again too, so the room must do for them all.

        Args:
            resource: What there is too little of.
            wanted: How much of it the refused request wants.
            excess: How much must be released before that fits.
        """
        refused, released = self._refused[resource], self._released[resource].per_second()
        before = refused.amount
        refused.add(wanted, 0.0)
        if not released:
            return self._default_seconds
        delay = (excess + before) / released
        return min(max(delay, MIN_DELAY_SECONDS), MAX_DELAY_SECONDS)
