"""Whether a replica's engine still computes: a tiny forward through its thread, judged in time.

What gRPC's health check answers, for both services. A replica whose event loop lives and whose
engine is wedged or broken must not look healthy; one that is only busy must not look broken. So
the forward itself decides where it ends in time, and the engine's steps where it does not.
"""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Future

from common.engine_thread import EngineThread

ANSWER_SECONDS = 2.0
FRESH_SECONDS = 0.5
STALL_STEPS = 4.0


class HealthProbe:
    """Answers within `ANSWER_SECONDS`, whatever the engine does; used from one event loop."""

    def __init__(
        self,
        submit: Callable[[], Future[None]],
        thread: EngineThread,
        longest_step_seconds: float,
        answer_seconds: float = ANSWER_SECONDS,
    ) -> None:
        """Prepare without running anything.

        Args:
            submit: Queues a tiny forward for the engine; must not block.
            thread: Runs the engine.
            longest_step_seconds: What the longest step took when warming up; a step that takes
                several times as long is taken for stuck.
            answer_seconds: Time after which the forward is not waited for.
        """
        self._submit = submit
        self._thread = thread
        self._answer_seconds = answer_seconds
        self._stall_seconds = max(answer_seconds, STALL_STEPS * longest_step_seconds)
        # One forward at a time: however often and by whomever a replica is asked, it costs the
        # engine little, and a stuck engine collects none.
        self._forward: asyncio.Future[None] | None = None
        self._asked: asyncio.Task[bool] | None = None
        self._answered_at = -FRESH_SECONDS

    async def is_healthy(self) -> bool:
        """Whether the engine computes, or is in the middle of other work; fresh to half a second.

        Those who ask while another is being answered get the same answer.
        """
        if self._asked is None or (
            self._asked.done() and time.monotonic() - self._answered_at > FRESH_SECONDS
        ):
            self._asked = asyncio.create_task(self._ask())
        # Shielded, because one caller's cancellation is no reason to fail the others.
        return await asyncio.shield(self._asked)

    async def _ask(self) -> bool:
        steps_before = self._thread.num_steps
        if self._forward is None or self._forward.done():
            self._forward = asyncio.wrap_future(self._submit())
        await asyncio.wait({self._forward}, timeout=self._answer_seconds)
        self._answered_at = time.monotonic()
        if self._forward.done():
            return self._forward.exception() is None
        return self._thread.num_steps > steps_before or self._is_in_a_step()

    def _is_in_a_step(self) -> bool:
        return 0 < self._thread.seconds_in_step() < self._stall_seconds


def seconds_of(work: Callable[[], None]) -> float:
    """Do it and say how long it took."""
    began_at = time.monotonic()
    work()
    return time.monotonic() - began_at
