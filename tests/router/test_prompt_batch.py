"""Several answers told as one: choices in order, usage added up, one failure ends all."""

import asyncio

import pytest

from common.errors import UnavailableError
from common.types import ChoiceEnd, FinishReason
from router.answer import AnswerFinished, StageSeconds, TokenUsage
from router.language_client import AnswerDelta
from router.prompt_batch import answered_together
from tests.router.front import STARTED
from tests.router.test_waiting_events import scripted


def finished(reason: FinishReason, *choices: ChoiceEnd) -> AnswerFinished:
    return AnswerFinished(reason, TokenUsage(1, 2, 3, 4, 5, 6, 7), StageSeconds(), choices=choices)


async def test_choices_follow_each_other_and_usage_adds_up() -> None:
    ends = (ChoiceEnd(FinishReason.STOP, 1), ChoiceEnd(FinishReason.LENGTH, 2))
    first = scripted(STARTED, AnswerDelta((1,), "a"), finished(FinishReason.STOP, *ends))
    second = scripted(
        STARTED, AnswerDelta((2,), "b", choice=1), finished(FinishReason.STOP, *reversed(ends))
    )
    told = [event async for event in answered_together([first, second], 2)]
    *deltas, last = told
    assert deltas == [AnswerDelta((1,), "a"), AnswerDelta((2,), "b", choice=3)]
    assert isinstance(last, AnswerFinished)
    assert last.usage == TokenUsage(2, 4, 6, 8, 10, 12, 14)
    assert last.choices == (*ends, *reversed(ends))


async def test_the_ends_of_lone_answers_are_kept() -> None:
    reasons = (FinishReason.LENGTH, FinishReason.STOP)
    answers = [scripted(finished(reason)) for reason in reasons]
    (last,) = [event async for event in answered_together(answers, 1)]
    assert isinstance(last, AnswerFinished)
    assert tuple(end.finish_reason for end in last.choices) == reasons


async def test_one_that_fails_ends_all() -> None:
    closed: list[bool] = []
    going_on = scripted(AnswerDelta((1,), "a"), asyncio.Event(), closed=closed)
    answers = [going_on, scripted(UnavailableError("Lost."))]
    with pytest.raises(UnavailableError):
        async for _ in answered_together(answers, 1):
            pass
    assert closed == [True]


async def test_who_leaves_closes_all() -> None:
    closed: list[bool] = []
    answers = [scripted(AnswerDelta((1,), "a"), asyncio.Event(), closed=closed) for _ in range(2)]
    events = answered_together(answers, 1)
    await anext(events)
    await events.aclose()
    assert closed == [True, True]
