"""Equal work under way is shared, and goes on while anybody waits for it."""

import asyncio

import pytest

from tests.fakes import in_virtual_time, settle
from vision_service.single_flight import SingleFlight


class Work:
    """Work that ends when told."""

    def __init__(self) -> None:
        self.num_started = 0
        self.num_cancelled = 0
        self.done = asyncio.Event()
        self.error: Exception | None = None

    async def run(self) -> int:
        self.num_started += 1
        number = self.num_started
        try:
            await self.done.wait()
        except asyncio.CancelledError:
            self.num_cancelled += 1
            raise
        if self.error is not None:
            raise self.error
        return number


@in_virtual_time
async def test_equal_work_runs_once_for_all_who_wait() -> None:
    flights, work, other = SingleFlight[str, int](), Work(), Work()
    tasks = [asyncio.create_task(flights.run("a", work.run)) for _ in range(3)]
    tasks.append(asyncio.create_task(flights.run("b", other.run)))
    await settle()
    work.done.set()
    other.done.set()
    assert await asyncio.gather(*tasks) == [1, 1, 1, 1]
    assert (work.num_started, other.num_started, flights.num_joined) == (1, 1, 2)


@in_virtual_time
async def test_afterwards_it_runs_anew() -> None:
    flights, work = SingleFlight[str, int](), Work()
    work.done.set()
    assert [await flights.run("a", work.run) for _ in range(2)] == [1, 2]
    assert flights.num_joined == 0


@in_virtual_time
async def test_a_failure_reaches_all_who_wait_and_is_not_kept() -> None:
    """Failure mode 28: what failed half way is published to nobody."""
    flights, work = SingleFlight[str, int](), Work()
    work.error = ValueError("damaged")
    tasks = [asyncio.create_task(flights.run("a", work.run)) for _ in range(2)]
    await settle()
    work.done.set()
    failures = await asyncio.gather(*tasks, return_exceptions=True)
    assert failures == [work.error] * 2
    work.error = None
    assert await flights.run("a", work.run) == 2


@in_virtual_time
async def test_work_goes_on_when_the_first_to_ask_leaves() -> None:
    flights, work = SingleFlight[str, int](), Work()
    first, second = (asyncio.create_task(flights.run("a", work.run)) for _ in range(2))
    await settle()
    first.cancel()
    await settle()
    work.done.set()
    assert await second == 1
    assert (first.cancelled(), work.num_cancelled) == (True, 0)


@in_virtual_time
async def test_work_is_cancelled_when_the_last_has_left_and_a_newcomer_starts_it_anew() -> None:
    flights, work = SingleFlight[str, int](), Work()
    leaving = asyncio.create_task(flights.run("a", work.run))
    await settle()
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    newcomer = asyncio.create_task(flights.run("a", work.run))
    await settle()
    assert work.num_cancelled == 1
    work.done.set()
    assert await newcomer == 2
