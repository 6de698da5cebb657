"""A router that dies is started again where it was."""

import asyncio
import os
import signal
from collections.abc import Callable

from common.errors import DvdError
from deploy.client import InferenceClient
from deploy.router_keeper import RouterKeeper
from tests.deploy.router_supervisor import PATIENCE_SECONDS, Supervisor


def fail(message: str) -> None:
    raise AssertionError(message)


async def kept(supervisor: Supervisor, on_failure: Callable[[str], None] = fail) -> RouterKeeper:
    await supervisor.announce_replicas()
    keeper = RouterKeeper(supervisor.settings(), PATIENCE_SECONDS, on_failure)
    await keeper.start()
    return keeper


async def answers(address: str) -> None:
    """Wait until a router answers there."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            client = InferenceClient(address)
            try:
                await client.model(PATIENCE_SECONDS)
            except DvdError:
                continue
            else:
                return
            finally:
                await client.close()


def kill(keeper: RouterKeeper) -> None:
    os.kill(keeper._process._process.pid, signal.SIGKILL)


async def test_mode_27_a_killed_router_comes_back_at_the_same_address(
    supervisor: Supervisor,
) -> None:
    keeper = await kept(supervisor)
    before = keeper.ready
    kill(keeper)
    async with asyncio.timeout(PATIENCE_SECONDS):
        while keeper.restarts == 0:
            await asyncio.to_thread(os.sched_yield)
    assert keeper.ready == before
    await answers(before.address)
    await keeper.stop()


async def test_one_that_is_stopped_stays_so(supervisor: Supervisor) -> None:
    keeper = await kept(supervisor)
    await keeper.stop()
    assert keeper.restarts == 0
    await RouterKeeper(supervisor.settings(), PATIENCE_SECONDS, fail).stop()
