"""Replicas of two ranks on another's Ray cluster: one life for all ranks of a group, no token lost.

Ranks are detached with their replica; the next supervisor finds the group by the one name it has.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from ray.cluster_utils import Cluster

from deploy.config import DeployConfig, RayConfig, load_config
from deploy.control_client import ControlClient
from deploy.down import remove_all
from tests.end_to_end.foreign_cluster import Running, asking, ray_nodes, start
from tests.end_to_end.processes import descendants
from tests.fakes import pass_time

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.cluster,
    pytest.mark.slow,
    pytest.mark.timeout(900),
]

PATIENCE_SECONDS = 300.0
NUM_TOKENS = 300


@pytest.fixture(scope="module")
def nodes() -> Iterator[Cluster]:
    """A node for all replicas."""
    with ray_nodes(num_nodes=1, num_cpus=8) as cluster:
        yield cluster


def settings(nodes: Cluster, model_dir: Path, num_ranks: int = 2) -> DeployConfig:
    return load_config(
        None,
        {
            "model": str(model_dir),
            "router.grpc_port": 0,
            "ray.address": nodes.address,
            "language.placement.replicas": 2,
            "language.placement.tensor_parallel_size": num_ranks,
            "language.service.kv_tokens": 16384,
            "language.service.rank_timeout_seconds": 15.0,
        },
    )


async def groups(running: Running) -> dict[str, tuple[str, int]]:
    """Incarnation and number of ranks of every language replica that serves, by name."""
    return {
        each.replica.name: (each.replica.incarnation, each.num_ranks)
        for each in await running.serving()
        if each.replica.name.startswith("language")
    }


async def wait_for_others_than(before: dict[str, tuple[str, int]], running: Running) -> None:
    """Wait until both replicas serve, and not as before."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while len(now := await groups(running)) < 2 or now == before:
            await pass_time(0.2)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(nodes: Cluster, flash_model_dir: Path) -> AsyncIterator[list[Running]]:
    """The supervisor of the moment; a test may replace it."""
    current = [await start(settings(nodes, flash_model_dir))]
    yield current
    await current[0].end()
    assert len(remove_all(RayConfig(address=nodes.address))) == 3
    async with asyncio.timeout(PATIENCE_SECONDS):
        while rank_processes():
            await pass_time(0.1)


def rank_processes() -> list[int]:
    """Processes of ranks beside the first."""
    return descendants("ray::RankActor")


async def test_a_rank_that_is_killed_costs_no_token_and_its_group_comes_back_as_a_whole(
    running: list[Running],
) -> None:
    now = running[0]
    before = await groups(now)
    assert {num_ranks for _, num_ranks in before.values()} == {2}
    expected = (await now.client.answer(asking(NUM_TOKENS))).token_ids
    answers = [asyncio.create_task(now.client.answer(asking(NUM_TOKENS))) for _ in range(4)]
    assert (await now.client.answer(asking(1))).token_ids
    killed, other = rank_processes()
    os.kill(killed, signal.SIGKILL)
    assert [(await answer).token_ids for answer in answers] == [expected] * 4
    await wait_for_others_than(before, now)
    assert (await now.client.answer(asking(8))).token_ids == expected[:8]
    left = rank_processes()
    assert len(left) == 2
    assert other in left
    assert killed not in left


async def test_a_rank_that_hangs_is_given_up_and_costs_no_token(running: list[Running]) -> None:
    now = running[0]
    before = await groups(now)
    expected = (await now.client.answer(asking(8))).token_ids
    stopped = rank_processes()[0]
    os.kill(stopped, signal.SIGSTOP)
    try:
        answers = [asyncio.create_task(now.client.answer(asking(8))) for _ in range(4)]
        assert [(await answer).token_ids for answer in answers] == [expected] * 4
        await wait_for_others_than(before, now)
    finally:
        if stopped in rank_processes():
            os.kill(stopped, signal.SIGCONT)


async def test_a_drained_group_leaves_no_rank_behind_and_can_come_back(
    running: list[Running],
) -> None:
    now = running[0]
    async with ControlClient(now.ready.control_address) as control:
        await control.drain("language-0")
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len(rank_processes()) != 1:
                await pass_time(0.1)
        assert (await now.client.answer(asking(8))).token_ids
        await control.bring_back("language-0")
    assert len(await groups(now)) == 2
    assert len(rank_processes()) == 2


async def test_a_new_supervisor_finds_groups_by_the_name_of_their_replica(
    nodes: Cluster, flash_model_dir: Path, running: list[Running]
) -> None:
    before, ranks = await groups(running[0]), rank_processes()
    await running[0].end()
    running[0] = await start(settings(nodes, flash_model_dir, num_ranks=1))
    # They go on as they were started, whatever size the configuration has by now.
    assert await groups(running[0]) == before
    assert rank_processes() == ranks
    assert (await running[0].client.answer(asking(8))).token_ids
