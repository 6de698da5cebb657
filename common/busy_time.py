"""For how long a stage was at work that does several things at a time.

Time in which two things overlap counts once, so that a stage is never busy for more than one
second a second, and stages can be compared.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class BusyTime:
    """Time in which at least one thing was under way; thread-safe.

    Args:
        clock: Seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._num_running = 0
        self._began_at = 0.0
        self._seconds = 0.0

    @property
    def seconds(self) -> float:
        """Busy until now, what is under way included."""
        with self._lock:
            running = self._clock() - self._began_at if self._num_running else 0.0
            return self._seconds + running

    @contextmanager
    def doing(self) -> Iterator[None]:
        """Count one thing for the length of the context."""
        with self._lock:
            if not self._num_running:
                self._began_at = self._clock()
            self._num_running += 1
        try:
            yield
        finally:
            with self._lock:
                self._num_running -= 1
                if not self._num_running:
                    self._seconds += self._clock() - self._began_at
