"""What is tried again, on whom, how often, and after what pause."""

import asyncio

import pytest

from common.errors import (
    CancelledRequestError,
    DeadlineExpiredError,
    DvdError,
    OverloadedError,
    StrandedError,
    UnavailableError,
    UnreachableError,
)
from common.types import ReplicaAddress
from router.attempts import MAX_FAILURES, PATIENCE_SECONDS, PAUSE_SECONDS, Attempts, is_lost
from router.deadline import Deadline
from tests.fakes import in_virtual_time, settle
from tests.router.fakes import FakeVision, address, pool_of

FIRST, SECOND = address("vision-0"), address("vision-1")
LOST = UnreachableError("A replica cannot be reached.")


@pytest.mark.parametrize(
    "error", [UnavailableError("x"), LOST, StrandedError("x"), CancelledRequestError("x")]
)
def test_who_is_gone_may_be_replaced(error: DvdError) -> None:
    assert is_lost(error)


@pytest.mark.parametrize("error", [DvdError(), DeadlineExpiredError("x"), OverloadedError("x")])
def test_who_answers_is_not_gone(error: DvdError) -> None:
    assert not is_lost(error)


@in_virtual_time
async def test_failures_are_counted_and_those_who_failed_remembered() -> None:
    attempts = Attempts()
    async with pool_of(FakeVision(FIRST), FakeVision(SECOND)) as pool:
        for _ in range(MAX_FAILURES):
            attempts.note(LOST, FIRST, pool)
        assert attempts.failed == {FIRST}
        with pytest.raises(UnreachableError):
            attempts.note(LOST, SECOND, pool)


@in_virtual_time
async def test_a_refusal_for_want_of_room_is_mended_by_another_alone() -> None:
    attempts, full = Attempts(), OverloadedError("Full.")
    async with pool_of(FakeVision(FIRST), FakeVision(SECOND)) as pool:
        attempts.note(full, FIRST, pool)
        with pytest.raises(OverloadedError):
            attempts.note(full, SECOND, pool)


async def paused(attempts: Attempts, *fakes: FakeVision) -> float:
    """Virtual seconds of a pause over a pool of these."""
    async with pool_of(*fakes) as pool:
        for fake in fakes:
            if fake.info_outcomes:  # It is gone, and does not come back.
                fake.reports.put_nowait(LOST)
        await settle()
        began_at = asyncio.get_running_loop().time()
        await attempts.pause(pool, Deadline.after(600))
        return asyncio.get_running_loop().time() - began_at


def after_failure(*failed: ReplicaAddress) -> Attempts:
    attempts = Attempts(set(failed))
    attempts.num_failures = 1
    return attempts


@in_virtual_time
async def test_nobody_waits_before_the_first_attempt_or_where_there_is_another() -> None:
    assert await paused(Attempts(), FakeVision(FIRST)) == 0
    assert await paused(after_failure(FIRST), FakeVision(FIRST), FakeVision(SECOND)) == 0


@in_virtual_time
async def test_the_only_one_is_left_alone_for_a_moment() -> None:
    assert await paused(after_failure(FIRST), FakeVision(FIRST)) == pytest.approx(PAUSE_SECONDS)


@in_virtual_time
async def test_where_nobody_is_left_it_waits_longer_but_not_for_ever() -> None:
    gone = FakeVision(FIRST, info_outcomes=[None, *[LOST] * 1000])
    took = await paused(after_failure(FIRST), gone)
    assert took == pytest.approx(PAUSE_SECONDS + PATIENCE_SECONDS)
