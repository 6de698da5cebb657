"""An event loop in a thread of its own, for a process whose main loop is not ours.

Ray stops its loop before a replica that got SIGTERM has drained; this one goes on until told.
"""

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class LoopThread:
    """Runs coroutines for callers of other threads; ends with the process."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name=name, daemon=True).start()

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run it there and await it here, in another loop."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))

    def run_to_end(self, work: Coroutine[Any, Any, T]) -> T:
        """Run it there and block this thread until it has ended."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()
