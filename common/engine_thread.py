"""The one thread that owns a device: calls an engine's `step` while there is work.

Below this thread everything is synchronous; above it is asyncio. Both services use it.
"""

import logging
import threading
import time
from collections.abc import Callable
from typing import Protocol

log = logging.getLogger(__name__)


class EngineThread:
    """Runs `step` until stopped, sleeping while it reports no work.

    Attributes:
        num_steps: Steps that have ended; any thread may read it.
        seconds_to_wait: As given.
    """

    def __init__(
        self,
        name: str,
        step: Callable[[], bool],
        on_crash: Callable[[], None],
        seconds_to_wait: Callable[[], float | None] = lambda: None,
    ) -> None:
        """Prepare the thread without starting it.

        Args:
            name: Thread name.
            step: Does one unit of work; False when there was none.
            on_crash: Called from the thread if `step` raises; the thread then ends.
            seconds_to_wait: Asked when there was no work: after how long to look again unwoken;
                None for never.
        """
        self._step = step
        self._on_crash = on_crash
        self.seconds_to_wait = seconds_to_wait
        self.num_steps = 0
        self._step_began_at: float | None = None
        self._work = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def wake(self) -> None:
        """Tell the thread that there may be work; any thread may call it."""
        self._work.set()

    def stop(self) -> None:
        """End after the current step and join."""
        self._stopping = True
        self._work.set()
        if self._thread.is_alive():
            self._thread.join()

    def seconds_in_step(self) -> float:
        """How long the step has taken that is under way; 0 between steps."""
        began_at = self._step_began_at
        return 0.0 if began_at is None else time.monotonic() - began_at

    def advance(self) -> bool:
        """Do one step, on the thread that owns the device; False when there was no work."""
        self._step_began_at = time.monotonic()
        had_work = self._step()
        self._step_began_at = None
        self.num_steps += 1
        return had_work

    def _run(self) -> None:
        try:
            while True:
                # Cleared first, so that neither a stop nor work during the step is slept through.
                self._work.clear()
                if self._stopping:
                    return
                if not self.advance():
                    self._work.wait(self.seconds_to_wait())
        except Exception:
            log.exception("engine thread died")
            self._on_crash()


class MakesEngineThread(Protocol):
    """Makes the thread that an engine runs on; `EngineThread` makes one for it alone."""

    def __call__(
        self,
        name: str,
        step: Callable[[], bool],
        on_crash: Callable[[], None],
        seconds_to_wait: Callable[[], float | None] = ...,
    ) -> EngineThread:
        """Make it without starting it; arguments are those of `EngineThread`."""
