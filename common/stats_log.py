"""A line in the log every few seconds that says how busy a process is, while it is.

What it says is the role's own business; here is when it is said.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Protocol

log = logging.getLogger(__name__)


class StatsLine(Protocol):
    """What there is to say."""

    def next(self, seconds: float) -> str:
        """What has happened in the last seconds; empty for nothing."""


class Rise:
    """How much a count has risen.

    Args:
        read: Reads the count.
    """

    def __init__(self, read: Callable[[], float]) -> None:
        self._read = read
        self._last = read()

    def take(self) -> float:
        """Rise since the last time; a count that began anew has risen from 0."""
        last, self._last = self._last, self._read()
        return self._last - last if self._last >= last else self._last


def percent(part: float, whole: float) -> str:
    """A share for the log; of nothing it is 0."""
    return f"{100 * part / whole if whole else 0:.1f} %"


class StatsLog:
    """Logs a line whenever there is something to say.

    Args:
        line: What to say.
        interval_seconds: Between lines; 0 for none.
        clock: Seconds, monotonic.
    """

    def __init__(
        self,
        line: StatsLine,
        interval_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._line = line
        self._interval_seconds = interval_seconds
        self._clock = clock
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin, in the running event loop."""
        if self._interval_seconds:
            self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """End."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def _run(self) -> None:
        before = self._clock()
        while True:
            await asyncio.sleep(self._interval_seconds)
            now = self._clock()
            line = self._line.next(now - before)
            before = now
            if line:
                log.info("%s", line)
