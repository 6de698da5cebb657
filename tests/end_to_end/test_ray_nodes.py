"""A Ray cluster of several nodes: one dies, the supervisor is replaced, everything is removed."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
import ray
from ray.cluster_utils import Cluster

from deploy.client import Answer, InferenceClient
from deploy.config import DeployConfig, RayConfig, load_config
from deploy.control_client import ControlClient
from deploy.down import remove_all
from deploy.supervisor import ClusterReady, Supervisor
from protos.dvd.v1 import inference_pb2, supervisor_pb2
from tests import pictures
from tests.fakes import pass_time
from tests.integration.requests import wire_request
from tests.reference.conversation import user

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.cluster,
    pytest.mark.timeout(600),
]

PATIENCE_SECONDS = 240.0
NUM_TOKENS = 300
STORE_BYTES = 80 << 20
SERVING = supervisor_pb2.REPLICA_STATE_SERVING


@pytest.fixture(scope="module")
def nodes() -> Iterator[Cluster]:
    """A head that runs no replica, two nodes that hold two each, and a spare one."""
    cluster = Cluster(
        initialize_head=True,
        head_node_args={
            "num_cpus": 0,
            "include_dashboard": False,
            "object_store_memory": STORE_BYTES,
        },
    )
    for _ in range(3):
        cluster.add_node(num_cpus=2, object_store_memory=STORE_BYTES)
    yield cluster
    cluster.shutdown()


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


class Running:
    """A supervisor that has started, and a client of its router."""

    def __init__(self, supervisor: Supervisor, ready: ClusterReady) -> None:
        self.supervisor = supervisor
        self.ready = ready
        self.client = InferenceClient(ready.router.address)

    async def incarnations(self) -> dict[str, str]:
        """Of every replica that serves, by name."""
        async with ControlClient(self.ready.control_address) as control:
            status = await control.status()
        return {
            each.replica.name: each.replica.incarnation
            for each in status.replicas
            if each.state == SERVING
        }

    async def end(self) -> None:
        await self.client.close()
        await self.supervisor.stop()


async def start(config: DeployConfig) -> Running:
    supervisor = Supervisor(config)
    return Running(supervisor, await supervisor.start())


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


def asking(max_tokens: int) -> inference_pb2.GenerateRequest:
    request = wire_request((user(pictures.grid(2, 1, 9), "What is this?"),), max_tokens)
    request.sampling.ignore_eos = True
    return request


async def test_a_new_supervisor_finds_the_replicas_of_the_last_one_by_name(
    nodes: Cluster, flash_model_dir: Path, running: list[Running]
) -> None:
    before = await running[0].incarnations()
    assert len(before) == 4
    expected = (await running[0].client.answer(asking(8))).token_ids
    await running[0].end()
    running[0] = await start(settings(nodes, flash_model_dir))
    assert await running[0].incarnations() == before
    assert (await running[0].client.answer(asking(8))).token_ids == expected


async def test_mode_20_replicas_of_another_model_are_not_adopted(
    nodes: Cluster, plain_model_dir: Path, flash_model_dir: Path, running: list[Running]
) -> None:
    before = await running[0].incarnations()
    await running[0].end()
    other = Supervisor(settings(nodes, plain_model_dir))
    try:
        with pytest.raises(Exception, match="runs on this cluster with another model"):
            await other.start()
    finally:
        await other.stop()
    running[0] = await start(settings(nodes, flash_model_dir))
    assert await running[0].incarnations() == before


async def test_a_node_that_dies_costs_no_token_and_its_replicas_come_back_elsewhere(
    nodes: Cluster, running: list[Running]
) -> None:
    now = running[0]
    before = await now.incarnations()
    expected = (await now.client.answer(asking(NUM_TOKENS))).token_ids
    answers = [asyncio.create_task(now.client.answer(asking(NUM_TOKENS))) for _ in range(4)]
    await first_tokens(now)
    nodes.remove_node(node_of(nodes, "language/language-0"), allow_graceful=False)
    assert [(await answer).token_ids for answer in answers] == [expected] * 4
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            after = await now.incarnations()
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
