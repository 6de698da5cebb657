"""Sending a load: order, limits, turns, failures, an early end."""

import asyncio
from collections.abc import Sequence
from itertools import count

import pytest

from common.errors import DeadlineExpiredError, OverloadedError
from common.types import Role
from deploy.bench.conversations import Conversation, Turn
from deploy.bench.load import NO_WORDS, Load, LoadOptions
from deploy.bench.pictures import Picture
from tests.deploy.bench.doors import ScriptedDoor

PICTURE = Picture(b"picture", "image/png")


def conversation(text: str = "ask", turns: int = 1, max_tokens: int = 3) -> Conversation:
    first = Turn((PICTURE,), text, max_tokens)
    return Conversation((first, *(Turn((), text, max_tokens) for _ in range(turns - 1))))


def counting_load(door: ScriptedDoor, options: LoadOptions | None = None) -> Load:
    """A load whose clock goes on by a second with every look."""
    ticks = count()
    return Load(door, options or LoadOptions(), lambda: float(next(ticks)))


async def send(load: Load, conversations: Sequence[Conversation]) -> None:
    await load.send(conversations, [0.0] * len(conversations), asyncio.Event())


async def test_an_answer_is_noted_with_its_times() -> None:
    load = counting_load(ScriptedDoor())
    await send(load, [conversation()])
    (exchange,) = load.exchanges
    assert exchange.is_answered
    assert exchange.text == "w0 w1 w2 "
    assert [arrival.num_tokens for arrival in exchange.arrivals] == [1, 1, 1]
    assert exchange.itl_seconds == [1.0, 1.0]
    assert exchange.ttft_seconds == 1.0
    assert exchange.e2el_seconds == 4.0
    assert exchange.num_pictures == 1
    assert (load.progress.sent, load.progress.answered, load.progress.output_tokens) == (1, 1, 3)


async def test_options_reach_the_door() -> None:
    door = ScriptedDoor()
    await send(counting_load(door, LoadOptions(None, True, 0.5, 7.0)), [conversation()])
    (question,) = door.asked
    assert (question.ignore_eos, question.temperature, question.timeout_seconds) == (True, 0.5, 7.0)
    assert (question.max_tokens, question.messages[0].pictures) == (3, (PICTURE,))


async def test_a_later_turn_is_asked_with_the_answer_before_it() -> None:
    door = ScriptedDoor()
    load = counting_load(door)
    await send(load, [conversation(turns=3)])
    assert [len(question.messages) for question in door.asked] == [1, 3, 5]
    said = door.asked[-1].messages
    assert [message.role for message in said] == [Role.USER, Role.ASSISTANT] * 2 + [Role.USER]
    assert said[1].text == "w0 w1 w2 "
    assert [bool(message.pictures) for message in said] == [True, False, False, False, False]
    assert [exchange.num_pictures for exchange in load.exchanges] == [1, 0, 0]


class SilentDoor(ScriptedDoor):
    """Answers with no word at all."""

    async def ask(self, question):  # type: ignore[no-untyped-def]
        async for event in super().ask(question):
            if not hasattr(event, "text"):
                yield event


async def test_an_answer_without_text_can_be_fed_back() -> None:
    door = SilentDoor()
    await send(counting_load(door), [conversation(turns=2)])
    assert door.asked[1].messages[1].text == NO_WORDS


async def test_failures_are_noted_by_code_and_the_rest_goes_on() -> None:
    door = ScriptedDoor()
    door.fails = [OverloadedError("Full."), None, DeadlineExpiredError("Late."), None]
    load = counting_load(door, LoadOptions(max_concurrency=1))
    await send(load, [conversation() for _ in range(4)])
    assert [exchange.error for exchange in load.exchanges] == [
        "RESOURCE_EXHAUSTED", "", "DEADLINE_EXCEEDED", "",
    ]  # fmt: skip
    assert (load.progress.answered, load.progress.failed) == (2, 2)


async def test_a_failed_turn_ends_its_conversation() -> None:
    door = ScriptedDoor()
    door.fails = [None, OverloadedError("Full.")]
    await send(counting_load(door), [conversation(turns=5)])
    assert len(door.asked) == 2


async def test_a_stream_without_an_end_is_a_failure() -> None:
    door = ScriptedDoor()
    door.ends = False
    load = counting_load(door)
    await send(load, [conversation()])
    assert [exchange.error for exchange in load.exchanges] == ["UNAVAILABLE"]


@pytest.mark.parametrize(("limit", "expected"), [(1, 1), (3, 3), (None, 10)])
async def test_no_more_at_once_than_allowed(limit: int | None, expected: int) -> None:
    door = ScriptedDoor()
    await send(counting_load(door, LoadOptions(max_concurrency=limit)), [conversation()] * 10)
    assert door.most_at_once == expected


async def test_it_is_sent_when_it_is_due() -> None:
    """On the loop's own clock, which is what waits."""
    door, loop = ScriptedDoor(), asyncio.get_running_loop()
    load = Load(door, LoadOptions(), loop.time)
    began, offsets = loop.time(), [0.0, 0.02, 0.05]
    await load.send([conversation(str(each)) for each in offsets], offsets, asyncio.Event())
    assert [question.messages[0].text for question in door.asked] == ["0.0", "0.02", "0.05"]
    for exchange, offset in zip(load.exchanges, offsets, strict=True):
        assert exchange.sent_at_seconds >= began + offset - 0.002


async def test_stopped_early_it_notes_what_was_under_way() -> None:
    door, stopping = ScriptedDoor(), asyncio.Event()
    door.holds = asyncio.Event()
    load = counting_load(door, LoadOptions(max_concurrency=2))
    sending = asyncio.create_task(load.send([conversation()] * 5, [0.0] * 5, stopping))
    await door.holding.wait()
    stopping.set()
    await sending
    assert [exchange.is_cut_off for exchange in load.exchanges] == [True, True]
    assert all(len(exchange.arrivals) <= 1 and not exchange.error for exchange in load.exchanges)


async def test_a_mistake_in_a_door_is_not_hidden() -> None:
    class BrokenDoor(ScriptedDoor):
        async def ask(self, question):  # type: ignore[no-untyped-def]  # noqa: ARG002
            raise ZeroDivisionError
            yield

    with pytest.raises(ZeroDivisionError):
        await send(counting_load(BrokenDoor()), [conversation()])
