"""Bounded admission: what is outstanding is counted in cost, and beyond the bounds is refused.

A refusal is immediate and names a delay; nothing ever queues in the router.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from common.errors import OverloadedError
from router.requests import RequestCost


@dataclass(frozen=True, slots=True)
class AdmissionBounds:
    """Most that may be outstanding at a time.

    Attributes:
        requests: Requests in flight.
        cost: Their cost, added up.
        retry_after_seconds: Delay named in refusals.
    """

    requests: int
    cost: RequestCost
    retry_after_seconds: float


class Admission:
    """Counts what is outstanding; used from the event loop alone."""

    def __init__(self, bounds: AdmissionBounds) -> None:
        self._bounds = bounds
        self.requests = 0
        self.tiles = 0
        self.tokens = 0
        self.image_bytes = 0

    @property
    def load(self) -> float:
        """Largest share of any bound that is in use; above 1 for a request larger than a bound."""
        bounds = self._bounds
        return max(
            self.requests / bounds.requests,
            self.tiles / bounds.cost.tiles,
            self.tokens / bounds.cost.tokens,
            self.image_bytes / bounds.cost.image_bytes,
        )

    @contextmanager
    def admit(self, cost: RequestCost) -> Iterator[None]:
        """Count a request for the length of the context.

        A request that alone exceeds a bound is admitted when nothing else is outstanding.

        Raises:
            OverloadedError: A bound would be exceeded.
        """
        if self.requests:
            self._check("requests", self.requests + 1, self._bounds.requests)
            self._check("tiles", self.tiles + cost.tiles, self._bounds.cost.tiles)
            self._check("tokens", self.tokens + cost.tokens, self._bounds.cost.tokens)
            held = self.image_bytes + cost.image_bytes
            self._check("picture bytes", held, self._bounds.cost.image_bytes)
        self._add(cost, 1)
        try:
            yield
        finally:
            self._add(cost, -1)

    def _check(self, what: str, wanted: int, bound: int) -> None:
        if wanted > bound:
            raise OverloadedError(
                f"Too many {what} are outstanding; try again later.",
                self._bounds.retry_after_seconds,
            )

    def _add(self, cost: RequestCost, sign: int) -> None:
        self.requests += sign
        self.tiles += sign * cost.tiles
        self.tokens += sign * cost.tokens
        self.image_bytes += sign * cost.image_bytes
