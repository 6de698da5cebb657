"""Small stand-ins that tests of several packages share."""

import asyncio
import functools
import selectors
from collections.abc import Callable, Coroutine, Generator
from typing import Any, TypeVar

T = TypeVar("T")

PATIENCE_SECONDS = 3600.0


class TimeJumpingSelector(selectors.SelectSelector):
    """Waits for no timer: moves its clock on instead."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if timeout is None and not ready:
            raise AssertionError("everything waits for something that never comes")
        self.now += max(timeout or 0, 0)
        if self.now > PATIENCE_SECONDS:
            raise AssertionError("an hour has passed")
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop in which sleeping takes no time; for code without network or threads."""

    def __init__(self) -> None:
        self.clock = TimeJumpingSelector()
        super().__init__(self.clock)

    def time(self) -> float:
        return self.clock.now


def run_in_virtual_time(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in a `VirtualTimeLoop`."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(work)


def in_virtual_time(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a test in a `VirtualTimeLoop`."""

    @functools.wraps(test)
    def run(*args: object, **kwargs: object) -> None:
        run_in_virtual_time(test(*args, **kwargs))

    return run


class _NextTurn:
    """Gives every other task that is ready its turn."""

    def __await__(self) -> Generator[None, None, None]:
        yield


async def turn() -> None:
    """Give every other task that is ready its turn."""
    await _NextTurn()


async def settle() -> None:
    """Let every task go as far as it can without waiting for time to pass."""
    for _ in range(50):
        await turn()


async def until(holds: Callable[[], bool]) -> None:
    """Give others their turn until a condition holds."""
    while not holds():
        await turn()


async def pass_time(seconds: float) -> None:
    """Let so much virtual time pass."""
    passed = asyncio.Event()
    asyncio.get_running_loop().call_later(seconds, passed.set)
    await passed.wait()
