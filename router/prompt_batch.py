"""Several bare prompts of one HTTP request: answered at the same time, told as one answer.

Each is a request of its own to the front door, admitted and counted as such. The first that fails
ends all.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import fields, replace

from router.answer import AnswerFinished, TokenUsage
from router.language_client import AnswerDelta
from router.openai_answer import ends_of
from router.pipeline import AnswerEvent

Events = AsyncGenerator[AnswerEvent, None]


async def answered_together(answers: Sequence[Events], num_choices: int) -> Events:
    """Join several answers into one, whose choices are those of the first, the second and so on.

    Args:
        answers: At least one; all are closed at the end.
        num_choices: Of each.

    Raises:
        DvdError: One of them has failed.
    """
    told: asyncio.Queue[AnswerEvent | None] = asyncio.Queue()
    ends: list[AnswerFinished | None] = [None] * len(answers)

    async def follow(position: int) -> None:
        async with aclosing(answers[position]) as events:
            async for event in events:
                if isinstance(event, AnswerDelta):
                    choice = position * num_choices + event.choice
                    told.put_nowait(replace(event, choice=choice))
                elif isinstance(event, AnswerFinished):
                    ends[position] = event

    following = [asyncio.create_task(follow(position)) for position in range(len(answers))]
    for each in following:
        each.add_done_callback(lambda _: told.put_nowait(None))
    try:
        while not told.empty() or not all(each.done() for each in following):
            event = await told.get()
            if event is not None:
                yield event
            for each in following:
                if each.done():
                    each.result()
        yield _whole([end for end in ends if end is not None])
    finally:
        for each in following:
            each.cancel()
        await asyncio.gather(*following, return_exceptions=True)


def _whole(ends: Sequence[AnswerFinished]) -> AnswerFinished:
    total = {
        each.name: sum(getattr(end.usage, each.name) for end in ends) for each in fields(TokenUsage)
    }
    choices = tuple(choice for end in ends for choice in ends_of(end))
    return replace(ends[0], usage=TokenUsage(**total), choices=choices)
