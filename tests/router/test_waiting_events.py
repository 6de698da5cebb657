"""What waits is joined, in order and whole; what comes late, fails or is left is not."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from common.errors import UnavailableError
from common.types import ChoiceEnd, FinishReason
from router.answer import TokenLogprob, TokenLogprobs
from router.language_client import AnswerDelta
from router.waiting_events import joined
from tests.router.front import FINISHED, STARTED

LOGPROB = TokenLogprobs(TokenLogprob(1, "a", -0.5), ())
END = ChoiceEnd(FinishReason.STOP, 2)


async def scripted(*script: Any, closed: list[bool] | None = None) -> AsyncGenerator[Any, None]:
    try:
        for event in script:
            if isinstance(event, Exception):
                raise event
            if isinstance(event, asyncio.Event):
                await event.wait()
            else:
                yield event
    finally:
        if closed is not None:
            closed.append(True)


async def test_tokens_that_wait_share_an_event() -> None:
    script = (STARTED, AnswerDelta((1,), "a", (LOGPROB,)), AnswerDelta((2, 3), "b"), FINISHED)
    told = [event async for event in joined(scripted(*script))]
    assert told == [STARTED, AnswerDelta((1, 2, 3), "ab", (LOGPROB,)), FINISHED]


async def test_the_end_of_an_answer_is_kept_and_nothing_comes_behind_it() -> None:
    script = (AnswerDelta((1,), "a"), AnswerDelta((2,), "b", end=END), AnswerDelta((), "c"))
    told = [event async for event in joined(scripted(*script))]
    assert told == [AnswerDelta((1, 2), "ab", end=END), AnswerDelta((), "c")]


async def test_several_answers_stay_apart() -> None:
    script = [AnswerDelta((index,), "x", choice=index % 2) for index in range(4)]
    assert [event async for event in joined(scripted(*script))] == script


async def test_what_comes_while_nobody_waits_longer_is_told_at_once() -> None:
    later = asyncio.Event()
    events = joined(scripted(AnswerDelta((1,), "a"), later, AnswerDelta((2,), "b")))
    assert await anext(events) == AnswerDelta((1,), "a")
    later.set()
    assert await anext(events) == AnswerDelta((2,), "b")
    with pytest.raises(StopAsyncIteration):
        await anext(events)


async def test_an_error_comes_behind_what_came_before() -> None:
    events = joined(scripted(STARTED, AnswerDelta((1,), "a"), UnavailableError("Lost.")))
    assert [await anext(events), await anext(events)] == [STARTED, AnswerDelta((1,), "a")]
    with pytest.raises(UnavailableError):
        await anext(events)


async def test_who_leaves_closes_what_is_read() -> None:
    closed: list[bool] = []
    events = joined(scripted(STARTED, asyncio.Event(), closed=closed))
    await anext(events)
    await events.aclose()
    assert closed == [True]
