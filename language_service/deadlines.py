"""When requests of the engine run out of time; it does not keep them alive until then."""

import heapq
import math
from collections.abc import Callable, Iterator
from typing import NamedTuple


class Due(NamedTuple):
    """A request by its names, in the order in which requests run out of time.

    Attributes:
        at: Deadline on the engine's clock.
        arrival: Unique to the request, unlike its id, which may be in use again.
        request_id: As submitted.
    """

    at: float
    arrival: int
    request_id: str


class Deadlines:
    """The deadlines of requests that may have ended since.

    Args:
        clock: Seconds, monotonic; read only where a request has a deadline.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._due: list[Due] = []

    def add(self, due: Due) -> None:
        """Take note of a request; one without a deadline is never due."""
        if due.at < math.inf:
            heapq.heappush(self._due, due)

    def passed(self) -> Iterator[Due]:
        """Take out those whose deadline has come."""
        while self._due and self._due[0].at <= self._clock():
            yield heapq.heappop(self._due)
