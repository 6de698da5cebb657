"""Counts the calls that are work, and refuses new ones while a process drains.

What is begun may need further calls to end: a language replica that drains still takes in the
pictures of the answers that it has begun.
"""

import asyncio
from collections.abc import Iterator, Set
from contextlib import contextmanager

from common.errors import UnavailableError


class WorkGate:
    """Open until closed; used from one event loop."""

    def __init__(self, begins: Set[str] = frozenset(), goes_on: Set[str] = frozenset()) -> None:
        """Name the methods that count; all others pass uncounted.

        Args:
            begins: Methods that begin work.
            goes_on: Methods that are part of work that has begun.
        """
        self._begins = begins
        self._counted = begins | goes_on
        self._is_closed = False
        self._num_calls = 0
        self._done = asyncio.Event()
        self._done.set()

    @contextmanager
    def doing(self, method: str) -> Iterator[None]:
        """Count a call for the length of the context.

        Raises:
            UnavailableError: It would begin work, and the gate is closed.
        """
        if self._is_closed and method in self._begins:
            raise UnavailableError("This process is stopping and takes no new work.")
        if method not in self._counted:
            yield
            return
        self._num_calls += 1
        self._done.clear()
        try:
            yield
        finally:
            self._num_calls -= 1
            if not self._num_calls:
                self._done.set()

    def close(self) -> None:
        """Let nothing more begin."""
        self._is_closed = True

    async def wait_until_done(self) -> None:
        """Wait until no counted call is under way."""
        await self._done.wait()
