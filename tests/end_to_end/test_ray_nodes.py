"""A Ray cluster of several nodes: one dies, the supervisor is replaced, everything is removed."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
import ray
from ray.cluster_utils import Cluster

from deploy.client import Answer
from deploy.config import DeployConfig, RayConfig, load_config
from deploy.down import remove_all
from deploy.supervisor import Supervisor
from tests.end_to_end.foreign_cluster import Running, asking, ray_nodes, start
from tests.fakes import pass_time

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.cluster,
    pytest.mark.timeout(600),
]

PATIENCE_SECONDS = 240.0
NUM_TOKENS = 300


@pytest.fixture(scope="module")
def nodes() -> Iterator[Cluster]:
    """Two nodes that hold two replicas each, and a spare one."""
    with ray_nodes(num_nodes=3, num_cpus=2) as cluster:
        yield cluster


def settings(nodes: Cluster, model_dir: Path) -> DeployConfig:
    return load_config(
        None,
        {
            "model": str(model_dir),
            "router.grpc_port": 0,
            "ray.address": nodes.address,
            "vision.placement.replicas": 2,
            "language.placement.replicas": 2,
            "language.service.kv_tokens": 16384,
        },
    )


async def incarnations(running: Running) -> dict[str, str]:
    """Of every replica that serves, by name."""
    return {each.replica.name: each.replica.incarnation for each in await running.serving()}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(nodes: Cluster, flash_model_dir: Path) -> AsyncIterator[list[Running]]:
    """The supervisor of the moment; a test may replace it."""
    current = [await start(settings(nodes, flash_model_dir))]
    yield current
    await current[0].end()
    assert remove_all(RayConfig(address=nodes.address)) == [
        "language/language-0", "language/language-1", "vision/vision-0", "vision/vision-1"
    ]  # fmt: skip
    assert remove_all(RayConfig(address=nodes.address)) == []


async def test_a_new_supervisor_finds_the_replicas_of_the_last_one_by_name(
    nodes: Cluster, flash_model_dir: Path, running: list[Running]
) -> None:
    before = await incarnations(running[0])
    assert len(before) == 4
    expected = (await running[0].client.answer(asking(8))).token_ids
    await running[0].end()
    running[0] = await start(settings(nodes, flash_model_dir))
    assert await incarnations(running[0]) == before
    assert (await running[0].client.answer(asking(8))).token_ids == expected


async def test_mode_20_replicas_of_another_model_are_not_adopted(
    nodes: Cluster, plain_model_dir: Path, flash_model_dir: Path, running: list[Running]
) -> None:
    before = await incarnations(running[0])
    await running[0].end()
    other = Supervisor(settings(nodes, plain_model_dir))
    try:
        with pytest.raises(Exception, match="runs on this cluster with another model"):
            await other.start()
    finally:
        await other.stop()
    running[0] = await start(settings(nodes, flash_model_dir))
    assert await incarnations(running[0]) == before


async def test_a_node_that_dies_costs_no_token_and_its_replicas_come_back_elsewhere(
    nodes: Cluster, running: list[Running]
) -> None:
    now = running[0]
    before = await incarnations(now)
    expected = (await now.client.answer(asking(NUM_TOKENS))).token_ids
    answers = [asyncio.create_task(now.client.answer(asking(NUM_TOKENS))) for _ in range(4)]
    await first_tokens(now)
    nodes.remove_node(node_of(nodes, "language/language-0"), allow_graceful=False)
    assert [(await answer).token_ids for answer in answers] == [expected] * 4
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            after = await incarnations(now)
            if len(after) == 4 and after["language-0"] != before["language-0"]:
                break
            await pass_time(0.2)
    assert (await now.client.answer(asking(8))).token_ids == expected[:8]


async def first_tokens(now: Running) -> None:
    """Wait until an answer that is begun now has tokens."""
    answer: Answer = await now.client.answer(asking(1))
    assert answer.token_ids


def node_of(nodes: Cluster, name: str) -> object:
    """The node on which the placement group of that name lies."""
    for row in ray.util.placement_group_table().values():
        if row["name"] == name and row["state"] == "CREATED":
            (node_id,) = row["bundles_to_node_id"].values()
            (node,) = [each for each in nodes.worker_nodes if each.node_id == node_id]
            return node
    raise AssertionError(f"{name} is nowhere")
