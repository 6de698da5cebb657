"""Load reports: the first at once, then on change, then as a heartbeat."""

import asyncio
import itertools
from collections.abc import Iterator

import pytest

from common.load_watch import watch_load
from protos.dvd.v1 import replica_pb2
from tests.fakes import run_in_virtual_time


def report(work: int) -> replica_pb2.LoadReport:
    return replica_pb2.LoadReport(outstanding_work=work)


async def first_reports(loads: Iterator[int], count: int) -> list[tuple[float, int]]:
    """Seconds and work of the first reports, where every reading takes the next load."""
    seen = []
    clock = asyncio.get_running_loop().time
    watch = watch_load(lambda: report(next(loads)))
    async for load in watch:
        seen.append((round(clock(), 3), load.outstanding_work))
        if len(seen) == count:
            await watch.aclose()
    return seen


def test_the_first_report_comes_at_once() -> None:
    assert run_in_virtual_time(first_reports(iter([3]), 1)) == [(0.0, 3)]


def test_every_change_is_reported_ten_times_a_second_at_most() -> None:
    seen = run_in_virtual_time(first_reports(itertools.count(), 4))
    assert seen == [(0.0, 0), (0.1, 1), (0.2, 2), (0.3, 3)]


def test_without_change_there_is_a_heartbeat_a_second() -> None:
    seen = run_in_virtual_time(first_reports(itertools.repeat(5), 3))
    assert seen == [(0.0, 5), (1.0, 5), (2.0, 5)]


def test_a_change_starts_the_second_anew() -> None:
    loads = itertools.chain([1, 1, 2], itertools.repeat(2))
    assert run_in_virtual_time(first_reports(loads, 3)) == [(0.0, 1), (0.2, 2), (1.2, 2)]


async def test_what_the_reading_raises_ends_the_watch() -> None:
    def broken() -> replica_pb2.LoadReport:
        raise RuntimeError("engine gone")

    with pytest.raises(RuntimeError, match="engine gone"):
        await anext(watch_load(broken))
