"""Reads an answer ahead of its client, and joins the tokens that wait.

A message to a client costs far more than a token in it. While the one before is being written, the
tokens that come are joined into the next, so that a busy router sends fewer and larger messages
and an idle one sends each token at once. What waits is bounded by the answer itself, which the
router holds anyway to resume it.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import aclosing

from router.language_client import AnswerDelta
from router.pipeline import AnswerEvent


async def joined(
    events: AsyncGenerator[AnswerEvent, None],
) -> AsyncGenerator[AnswerEvent, None]:
    """Pass an answer on, tokens that wait in one event.

    Args:
        events: Of one answer; closed at the end.

    Raises:
        DvdError: As the events, behind all that came before.
    """
    waiting: deque[AnswerEvent] = deque()
    news = asyncio.Event()
    reading = asyncio.create_task(_read(events, waiting, news))
    try:
        while waiting or not reading.done():
            await news.wait()
            news.clear()
            while waiting:
                yield waiting.popleft()
        await reading
    finally:
        reading.cancel()
        # Nobody asks for its error any more.
        await asyncio.gather(reading, return_exceptions=True)


async def _read(
    events: AsyncGenerator[AnswerEvent, None], waiting: deque[AnswerEvent], news: asyncio.Event
) -> None:
    # The last wake-up must find this task done, so it is the task's end that gives it.
    task = asyncio.current_task()
    if task is not None:
        task.add_done_callback(lambda _: news.set())
    async with aclosing(events):
        async for event in events:
            whole = _join(waiting[-1], event) if waiting else None
            if whole is None:
                waiting.append(event)
            else:
                waiting[-1] = whole
            news.set()


def _join(first: AnswerEvent, second: AnswerEvent) -> AnswerDelta | None:
    """Two pieces of one answer as one; None where they are not."""
    if not isinstance(first, AnswerDelta) or not isinstance(second, AnswerDelta):
        return None
    if first.choice != second.choice or first.end is not None:
        return None
    return AnswerDelta(
        (*first.token_ids, *second.token_ids),
        first.text + second.text,
        (*first.logprobs, *second.logprobs),
        first.choice,
        second.end,
    )
