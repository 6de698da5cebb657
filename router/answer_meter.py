"""Times one request at the door and counts how it ends, whichever way that is."""

import asyncio
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from common.errors import CancelledRequestError, DeadlineExpiredError, DvdError
from router.answer import AnswerFinished
from router.door_stats import DoorStats
from router.language_client import AnswerDelta
from router.pipeline import AnswerEvent

# gRPC ends a call at its deadline as if its client had gone, a moment before or after ours does.
LATE_SECONDS = 0.05


class AnswerMeter:
    """One request, from its arrival.

    Args:
        stats: Gets what is measured.
        count: Told how the request ends: the name of its status, and why it finished.
        clock: Seconds, monotonic.
    """

    def __init__(
        self,
        stats: DoorStats,
        count: Callable[[str, str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stats = stats
        self._count = count
        self._clock = clock
        self._arrived_at = clock()
        self._due_at = math.inf
        self._first_at: float | None = None
        self._last_at = self._arrived_at
        # When each of several answers has got its latest token.
        self._latest: dict[int, float] = {}
        self._num_tokens = 0
        self._is_finished = False

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Count the request once, when the context ends or its answer has finished."""
        status = DvdError.code.name
        try:
            yield
            status = ""
        except (asyncio.CancelledError, GeneratorExit):
            is_late = self._clock() >= self._due_at - LATE_SECONDS
            status = (DeadlineExpiredError if is_late else CancelledRequestError).code.name
            raise
        except DvdError as error:
            status = error.code.name
            raise
        finally:
            if status and not self._is_finished:
                self._count(status, "")

    def expect_by(self, due_at: float) -> None:
        """Have the request end by a moment on the clock: who goes away then has run out of time."""
        self._due_at = due_at

    def note(self, event: AnswerEvent) -> None:
        """Take note of what the client is given now."""
        if isinstance(event, AnswerDelta):
            if event.token_ids:
                self._note_tokens(event.choice, len(event.token_ids))
        elif isinstance(event, AnswerFinished):
            self._note_finished(event)

    def _note_tokens(self, choice: int, num_tokens: int) -> None:
        now, stats = self._clock(), self._stats
        stats.num_delivered_tokens += num_tokens
        if self._first_at is None:
            self._first_at = now
            stats.first_token_seconds.note(now - self._arrived_at)
        before = self._latest.get(choice)
        if before is not None:
            stats.inter_token_seconds.note((now - before) / num_tokens, num_tokens)
        elif num_tokens > 1:
            # They have waited for the first one to be sent.
            stats.inter_token_seconds.note(0.0, num_tokens - 1)
        self._latest[choice] = self._last_at = now
        self._num_tokens += num_tokens

    def _note_finished(self, finished: AnswerFinished) -> None:
        # Counted before it is sent: who goes away on having it has an answer.
        self._is_finished = True
        stats = self._stats
        stats.request_seconds.note(self._clock() - self._arrived_at)
        num_more = self._num_tokens - len(self._latest)
        if self._first_at is not None and num_more > 0:
            stats.token_seconds.note((self._last_at - self._first_at) / num_more)
        stats.note_finished(finished)
        self._count("OK", str(finished.finish_reason))
