"""Equal work that is asked for while it is under way is done once.

Whoever comes later joins; whoever is cancelled leaves; when the last one has left, the work is
cancelled. Used from one event loop alone.
"""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


@dataclass(slots=True)
class _Flight(Generic[T]):
    task: asyncio.Task[T]
    num_waiters: int = 0


class SingleFlight(Generic[K, T]):
    """Work under way, by name.

    Attributes:
        num_joined: How often somebody joined work under way.
    """

    def __init__(self) -> None:
        self.num_joined = 0
        self._flights: dict[K, _Flight[T]] = {}

    async def run(self, name: K, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Start work, or join equal work.

        Args:
            name: Equal names are equal work.
            work: Starts it; not called when somebody else has.

        Raises:
            Exception: What the work raises, to all who wait for it.
        """
        flight = self._flights.get(name)
        if flight is None:
            flight = self._flights[name] = _Flight(asyncio.create_task(work()))
        else:
            self.num_joined += 1
        flight.num_waiters += 1
        try:
            return await asyncio.shield(flight.task)
        finally:
            flight.num_waiters -= 1
            if not flight.num_waiters:
                # Without effect on work that is done.
                flight.task.cancel()
            if self._flights.get(name) is flight and (flight.task.done() or not flight.num_waiters):
                del self._flights[name]
