"""What one request adds to what the door counts."""

import asyncio
from contextlib import suppress

import pytest

from common.errors import OverloadedError
from common.types import FinishReason
from router.answer import AnswerFinished, StageSeconds, TokenUsage
from router.answer_meter import AnswerMeter
from router.door_stats import DoorStats
from router.language_client import AnswerDelta

FINISHED = AnswerFinished(FinishReason.STOP, TokenUsage(10, 20, 30, 2, 1, 5, 0), StageSeconds())


class Door:
    """A meter under a clock that is set, and what it tells."""

    def __init__(self) -> None:
        self.now = 1.0
        self.stats = DoorStats()
        self.ends: list[tuple[str, str]] = []
        self.meter = AnswerMeter(self.stats, self._count, lambda: self.now)

    def _count(self, status: str, finish_reason: str) -> None:
        self.ends.append((status, finish_reason))

    def deliver(self, now: float, num_tokens: int, choice: int = 0) -> None:
        self.now = now
        self.meter.note(AnswerDelta(tuple(range(num_tokens)), "", choice=choice))


def test_tokens_are_timed_from_arrival_and_from_each_other() -> None:
    door = Door()
    door.deliver(1.5, 1)
    door.deliver(1.75, 1)
    door.deliver(2.75, 2)
    door.meter.note(FINISHED)
    stats = door.stats
    assert (stats.first_token_seconds.num_values, stats.first_token_seconds.total) == (1, 0.5)
    # Two tokens of one message share the second before it.
    assert (stats.inter_token_seconds.num_values, stats.inter_token_seconds.total) == (3, 1.25)
    assert stats.token_seconds.total == pytest.approx(1.25 / 3)
    assert (stats.num_delivered_tokens, stats.request_seconds.total) == (4, 1.75)


def test_every_answer_of_several_has_its_own_gaps() -> None:
    door = Door()
    door.deliver(2.0, 1, choice=0)
    door.deliver(2.5, 1, choice=1)
    door.deliver(4.0, 1, choice=0)
    assert door.stats.first_token_seconds.num_values == 1
    assert (door.stats.inter_token_seconds.num_values, door.stats.inter_token_seconds.total) == (
        1,
        2.0,
    )


def test_text_without_tokens_is_no_token() -> None:
    door = Door()
    door.deliver(2.0, 0)
    assert door.stats.first_token_seconds.num_values == door.stats.num_delivered_tokens == 0


def test_usage_is_added_when_the_answer_is_complete() -> None:
    door = Door()
    door.meter.note(FINISHED)
    stats = door.stats
    assert (stats.prompt_tokens.total, stats.generation_tokens.total) == (30, 5)
    assert (stats.tiles.total, stats.num_compressed_tiles) == (2, 1)
    assert (stats.num_full_tokens, stats.num_visual_tokens) == (30, 20)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (OverloadedError("Full."), "RESOURCE_EXHAUSTED"),
        (asyncio.CancelledError(), "CANCELLED"),
        (GeneratorExit(), "CANCELLED"),
        (ZeroDivisionError(), "INTERNAL"),
    ],
)
def test_a_request_that_ends_without_an_answer_is_counted_by_its_status(
    error: BaseException, status: str
) -> None:
    door = Door()
    with suppress(type(error)), door.meter.counted():
        raise error
    assert door.ends == [(status, "")]


def test_whoever_goes_away_behind_the_end_of_an_answer_has_it() -> None:
    door = Door()
    with suppress(GeneratorExit), door.meter.counted():
        door.meter.note(FINISHED)
        raise GeneratorExit
    assert door.ends == [("OK", "stop")]


@pytest.mark.parametrize(
    ("ends_at", "status"),
    [(2.0, "CANCELLED"), (10.97, "DEADLINE_EXCEEDED"), (11.5, "DEADLINE_EXCEEDED")],
)
def test_a_call_that_is_cancelled_at_its_deadline_has_expired(ends_at: float, status: str) -> None:
    door = Door()
    with suppress(asyncio.CancelledError), door.meter.counted():
        door.meter.expect_by(11.0)
        door.now = ends_at
        raise asyncio.CancelledError
    assert door.ends == [(status, "")]
