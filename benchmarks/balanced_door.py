"""Several servers behind one door: each request goes to the one with the fewest under way."""

from collections.abc import AsyncIterator, Sequence

from deploy.bench.door import Delta, Door, Ended, Question


class BalancedDoor:
    """Balances a load over doors of equal servers.

    Args:
        doors: At least one; closed with this one.
    """

    def __init__(self, doors: Sequence[Door]) -> None:
        self._doors = doors
        self._under_way = [0] * len(doors)
        self._answered = [0] * len(doors)

    @property
    def num_retries(self) -> int:
        """How often a request had to be asked again so far."""
        return sum(door.num_retries for door in self._doors)

    async def model_name(self) -> str:
        """Ask all; the name that the last of them says."""
        return [await door.model_name() for door in self._doors][-1]

    async def ask(self, question: Question) -> AsyncIterator[Delta | Ended]:
        """Answer a request at the door with the fewest under way, then the fewest so far."""
        index = min(range(len(self._doors)), key=lambda i: (self._under_way[i], self._answered[i]))
        self._under_way[index] += 1
        self._answered[index] += 1
        try:
            async for event in self._doors[index].ask(question):
                yield event
        finally:
            self._under_way[index] -= 1

    async def close(self) -> None:
        """Close all."""
        for door in self._doors:
            await door.close()
