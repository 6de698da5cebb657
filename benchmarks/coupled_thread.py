"""One thread for the engines of both roles: what makes a process a coupled server.

A coupled server has one device, on which the vision transformer and the language model take turns:
a pass over a batch of tiles, then a step of all answers. Whoever has no work gives its turn up.
"""

from collections.abc import Callable

from common.engine_thread import EngineThread


class CoupledThread:
    """Runs several engines on one thread, a step of each in turn."""

    def __init__(self) -> None:
        self._engines: list[_Engine] = []
        self._thread = EngineThread("coupled", self._step, self._crashed, self._seconds_to_wait)
        self._num_running = 0

    def make(
        self,
        name: str,
        step: Callable[[], bool],
        on_crash: Callable[[], None],
        seconds_to_wait: Callable[[], float | None] = lambda: None,
    ) -> EngineThread:
        """Make what an engine takes for its thread; a `MakesEngineThread`."""
        engine = _Engine(self, name, step, on_crash, seconds_to_wait)
        self._engines.append(engine)
        return engine

    def start(self) -> None:
        """Start with the first engine that is started."""
        self._num_running += 1
        if self._num_running == 1:
            self._thread.start()

    def wake(self) -> None:
        """Tell the thread that there may be work."""
        self._thread.wake()

    def stop(self) -> None:
        """End with the last engine that is stopped."""
        self._num_running -= 1
        if self._num_running == 0:
            self._thread.stop()

    def _step(self) -> bool:
        # A list, because each has its turn whatever the one before it did.
        return any([engine.advance() for engine in self._engines])  # noqa: C419

    def _seconds_to_wait(self) -> float | None:
        waits = [engine.seconds_to_wait() for engine in self._engines]
        return min((wait for wait in waits if wait is not None), default=None)

    def _crashed(self) -> None:
        for engine in self._engines:
            engine.on_crash()


class _Engine(EngineThread):
    """One engine's part of the thread."""

    def __init__(
        self,
        shared: CoupledThread,
        name: str,
        step: Callable[[], bool],
        on_crash: Callable[[], None],
        seconds_to_wait: Callable[[], float | None],
    ) -> None:
        super().__init__(name, step, on_crash, seconds_to_wait)
        self.on_crash = on_crash
        self._shared = shared

    def start(self) -> None:
        self._shared.start()

    def wake(self) -> None:
        self._shared.wake()

    def stop(self) -> None:
        self._shared.stop()
