"""How far a replica is with its weights: a bar on a terminal, lines in the log elsewhere.

By bytes, because tensors differ by a factor of a million: half a terabyte takes minutes, and
whoever waits wants to know how many.
"""

import logging
from collections.abc import Callable
from typing import Protocol, TextIO

from tqdm import tqdm

LOG_INTERVAL_SECONDS = 5.0
GIB = 1 << 30

log = logging.getLogger(__name__)


class LoadingProgress(Protocol):
    """Is told what has been read."""

    def begin(self, total_bytes: int) -> None:
        """Start from nothing; so many bytes will be read."""

    def add(self, num_bytes: int) -> None:
        """So many more have been read."""

    def end(self) -> None:
        """Everything has been read."""


class NoProgress:
    """For whoever does not wait."""

    def begin(self, total_bytes: int) -> None:
        """See `LoadingProgress`."""

    def add(self, num_bytes: int) -> None:
        """See `LoadingProgress`."""

    def end(self) -> None:
        """See `LoadingProgress`."""


class LoggedProgress:
    """A line every few seconds, and one at the end.

    Args:
        name: Of the replica.
        clock: In seconds, monotonic.
    """

    def __init__(self, name: str, clock: Callable[[], float]) -> None:
        self._name = name
        self._clock = clock
        self._total = self._done = 0
        self._began_at = self._told_at = 0.0

    def begin(self, total_bytes: int) -> None:
        """See `LoadingProgress`."""
        self._total, self._done = total_bytes, 0
        self._began_at = self._told_at = self._clock()

    def add(self, num_bytes: int) -> None:
        """See `LoadingProgress`."""
        self._done += num_bytes
        now = self._clock()
        if now - self._told_at >= LOG_INTERVAL_SECONDS:
            self._told_at = now
            share = 100 * self._done // max(self._total, 1)
            done, total = self._done / GIB, self._total / GIB
            log.info("%s: %d %% of weights, %.1f of %.1f GiB", self._name, share, done, total)

    def end(self) -> None:
        """See `LoadingProgress`."""
        seconds, total = self._clock() - self._began_at, self._total / GIB
        log.info("%s: read %.1f GiB of weights in %.1f seconds", self._name, total, seconds)


class BarProgress:
    """A bar that grows.

    Args:
        name: Of the replica.
        stream: Of a terminal.
    """

    def __init__(self, name: str, stream: TextIO) -> None:
        self._name = name
        self._stream = stream
        self._bar: tqdm[object] | None = None

    def begin(self, total_bytes: int) -> None:
        """See `LoadingProgress`."""
        self._bar = tqdm(
            total=total_bytes,
            desc=self._name,
            unit="B",
            unit_scale=True,
            unit_divisor=1024,
            file=self._stream,
        )

    def add(self, num_bytes: int) -> None:
        """See `LoadingProgress`."""
        if self._bar is not None:
            self._bar.update(num_bytes)

    def end(self) -> None:
        """See `LoadingProgress`."""
        if self._bar is not None:
            self._bar.close()


def loading_progress(name: str, clock: Callable[[], float], stream: TextIO) -> LoadingProgress:
    """The progress of a replica, as suits where its process writes."""
    return BarProgress(name, stream) if stream.isatty() else LoggedProgress(name, clock)
