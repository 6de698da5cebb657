"""One replica as a router follows it: probes beside reports, ejection, a link that went silent."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from common.config import HealthConfig
from common.errors import DvdError, InvalidImageError, OverloadedError, UnreachableError
from router.pooled_replica import PooledReplica
from router.replica_health import HealthState
from tests.fakes import in_virtual_time, pass_time, settle
from tests.router.fakes import FakeReplica, address

CONFIG = HealthConfig()


@asynccontextmanager
async def followed(fake: FakeReplica) -> AsyncIterator[PooledReplica[FakeReplica]]:
    """Follow a fake that is up."""
    replica = PooledReplica(fake.address, lambda _: fake, lambda: None, CONFIG)
    fake.reports.put_nowait(0)
    watch = asyncio.create_task(replica.watch())
    await settle()
    assert replica.is_up
    try:
        yield replica
    finally:
        watch.cancel()
        await asyncio.wait({watch})


def vision() -> FakeReplica:
    return FakeReplica(address("vision-0"))


@in_virtual_time
async def test_it_is_probed_again_and_again() -> None:
    fake = vision()
    async with followed(fake):
        await pass_time(100.0)
    assert 20 <= fake.num_probes <= 45  # it sends no heartbeats, so more often than it need


@in_virtual_time
async def test_mode_6_a_replica_whose_forward_fails_is_ejected_while_it_still_reports(
    caplog: pytest.LogCaptureFixture,
) -> None:
    fake = vision()
    async with followed(fake) as replica:
        fake.probe_outcomes = [False] * 3
        await pass_time(CONFIG.silence_seconds + 2.0)
        assert not replica.is_up
        await pass_time(20.0)
        assert replica.is_up
    assert "ejected vision-0: it failed its probe" in caplog.text
    assert not fake.is_closed, "what runs there may end"


@in_virtual_time
async def test_mode_22_a_link_on_which_nothing_is_heard_is_cut_and_opened_anew() -> None:
    silent, fresh = vision(), vision()
    clients = iter([silent, fresh])
    replica = PooledReplica(silent.address, lambda _: next(clients), lambda: None, CONFIG)
    silent.reports.put_nowait(0)
    watch = asyncio.create_task(replica.watch())
    await settle()
    silent.probe_outcomes = [asyncio.Event()]
    await pass_time(CONFIG.silence_seconds + CONFIG.probe_timeout_seconds + 0.1)
    assert silent.is_closed
    assert (replica.client, replica.is_up) == (fresh, False)
    fresh.reports.put_nowait(0)
    await pass_time(1.0)
    assert replica.is_up
    watch.cancel()


@in_virtual_time
async def test_a_stream_that_breaks_during_a_probe_is_noticed_at_once() -> None:
    fake = vision()
    async with followed(fake) as replica:
        fake.probe_outcomes = [asyncio.Event()]
        await pass_time(CONFIG.silence_seconds + 0.1)
        fake.reports.put_nowait(UnreachableError("A replica cannot be reached."))
        await settle()
        assert not replica.is_up


@pytest.mark.parametrize("error", [UnreachableError("gone"), DvdError()])
@in_virtual_time
async def test_calls_that_fail_in_a_row_eject_at_once_and_a_probe_brings_back(
    error: DvdError,
) -> None:
    fake = vision()
    async with followed(fake) as replica:
        for _ in range(CONFIG.max_failures):
            with pytest.raises(type(error)), replica.judged():
                raise error
        assert not replica.is_up
        await pass_time(2.0)
        assert replica.is_up


@in_virtual_time
async def test_a_failed_call_makes_it_be_probed_at_once() -> None:
    fake = vision()
    async with followed(fake) as replica:
        before = fake.num_probes
        with pytest.raises(UnreachableError), replica.judged():
            raise UnreachableError("gone")
        await settle()
        assert fake.num_probes == before + 1


@pytest.mark.parametrize("error", [InvalidImageError("no picture"), OverloadedError("full")])
@in_virtual_time
async def test_mode_23_what_is_the_requests_own_fault_is_not_held_against_the_replica(
    error: DvdError,
) -> None:
    fake = vision()
    async with followed(fake) as replica:
        for _ in range(10 * CONFIG.max_failures):
            with pytest.raises(type(error)), replica.judged():
                raise error
        assert replica.state is HealthState.UP


@in_virtual_time
async def test_calls_that_end_well_count() -> None:
    fake = vision()
    async with followed(fake) as replica:
        for _ in range(CONFIG.max_failures):
            with pytest.raises(DvdError), replica.judged():
                raise DvdError
            with replica.judged():
                pass
        assert replica.is_up
