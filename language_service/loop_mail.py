"""From the engine's thread to the event loop: events of one step, woken for once.

A step ends with a token for each of its answers. To wake the loop for each of them costs a system
call and a fight for the interpreter's lock, in the middle of the thread that everybody waits for.
"""

import asyncio
import threading
from collections.abc import Callable


class LoopMail:
    """Calls on a loop what another thread hands over, in order.

    Args:
        loop: Where calls are made.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._lock = threading.Lock()
        self._waiting: list[Callable[[], None]] = []

    def call(self, callback: Callable[[], None]) -> None:
        """Have the loop call this soon; from any thread.

        Raises:
            RuntimeError: The loop is closed.
        """
        with self._lock:
            self._waiting.append(callback)
            is_told = len(self._waiting) > 1
        if not is_told:
            self._loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        with self._lock:
            waiting, self._waiting = self._waiting, []
        for callback in waiting:
            callback()
