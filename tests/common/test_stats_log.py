"""When a process says how busy it is."""

import asyncio
import logging

import pytest

from common.stats_log import Rise, StatsLog, percent
from tests.fakes import in_virtual_time


class Busy:
    """Has something to say in every second interval."""

    def __init__(self) -> None:
        self.asked: list[float] = []

    def next(self, seconds: float) -> str:
        self.asked.append(seconds)
        return f"running {len(self.asked)}" if len(self.asked) % 2 else ""


def now() -> float:
    return asyncio.get_running_loop().time()


@in_virtual_time
async def said(interval_seconds: float, wait_seconds: float, line: Busy) -> None:
    stats = StatsLog(line, interval_seconds, now)
    stats.start()
    await asyncio.sleep(wait_seconds)
    await stats.stop()


def test_a_line_is_logged_where_there_is_something_to_say(
    caplog: pytest.LogCaptureFixture,
) -> None:
    line = Busy()
    with caplog.at_level(logging.INFO):
        said(10.0, 35.0, line)
    assert line.asked == [10.0, 10.0, 10.0]
    assert [record.getMessage() for record in caplog.records] == ["running 1", "running 3"]


def test_no_interval_is_no_line() -> None:
    line = Busy()
    said(0.0, 35.0, line)
    assert line.asked == []


def test_a_count_rises_from_where_it_was_and_may_begin_anew() -> None:
    counts = iter([5, 8, 8, 2])
    rise = Rise(lambda: next(counts))
    assert [rise.take() for _ in range(3)] == [3, 0, 2]


def test_a_share_of_nothing_is_none() -> None:
    assert (percent(1, 4), percent(0, 0)) == ("25.0 %", "0.0 %")
