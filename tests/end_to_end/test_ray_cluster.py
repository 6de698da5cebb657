"""A real Ray cluster under the supervisor: answers, lost replicas, an orderly end.

The language replica is made of two ranks, so that all of this goes for a group as for one process.
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
import ray

from common.errors import DvdError, UnavailableError
from common.types import ReplicaRole, ResolutionScope
from deploy.client import Answer, InferenceClient
from deploy.config import DeployConfig, load_config
from deploy.control_client import ControlClient
from deploy.supervisor import ClusterReady, Supervisor
from protos.dvd.v1 import inference_pb2
from tests import pictures
from tests.integration.conversations import CONVERSATIONS
from tests.integration.metrics import scrape
from tests.integration.requests import wire_request
from tests.reference import flash_reference
from tests.reference.conversation import user

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.cluster]


def asking(seed: int) -> inference_pb2.GenerateRequest:
    """Ask about a picture that no other seed has."""
    return wire_request((user(pictures.grid(4, 3, seed), "What is this?"),), 16)


REQUEST = asking(1000)
RECOVERY_SECONDS = 60.0


class RunningCluster:
    """A supervisor and a client of its router."""

    def __init__(self, supervisor: Supervisor, ready: ClusterReady) -> None:
        self.supervisor = supervisor
        self.ready = ready
        self.client = InferenceClient(ready.router.address)

    def kill(self, role: ReplicaRole) -> None:
        """End the process of a replica, as a crash would; Ray restarts it."""
        for keeper in self.supervisor.replicas:
            if keeper.plan.role is role and keeper.placed is not None:
                ray.kill(keeper.placed.actor, no_restart=False)

    async def answer_again(self, request: inference_pb2.GenerateRequest = REQUEST) -> Answer:
        """Ask until the cluster answers."""
        async with asyncio.timeout(RECOVERY_SECONDS):
            while True:
                try:
                    return await self.client.answer(request)
                except UnavailableError:
                    continue


def settings(model_dir: Path) -> DeployConfig:
    return load_config(
        None,
        {
            "model": str(model_dir),
            "router.grpc_port": 0,
            "language.service.kv_tokens": 16384,
            "language.placement.tensor_parallel_size": 2,
        },
    )


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cluster(flash_model_dir: Path) -> AsyncIterator[RunningCluster]:
    supervisor = Supervisor(settings(flash_model_dir))
    try:
        running = RunningCluster(supervisor, await supervisor.start())
        yield running
        await running.client.close()
    finally:
        await supervisor.stop()


async def test_two_actors_and_a_router_answer(
    cluster: RunningCluster, flash_model_dir: Path
) -> None:
    assert {replica.role for replica in cluster.ready.replicas} == set(ReplicaRole)
    async with ControlClient(cluster.ready.control_address) as control:
        status = await control.status()
    assert [(each.replica.name, each.num_ranks) for each in status.replicas] == [
        ("language-0", 2), ("vision-0", 1)
    ]  # fmt: skip
    conversation = CONVERSATIONS["one square picture"]
    expected = flash_reference.answer(flash_model_dir, conversation, 16, ResolutionScope.REQUEST)
    exact = await cluster.client.answer(wire_request(conversation, 16))
    assert exact.token_ids == expected.token_ids
    answer = await cluster.client.answer(REQUEST)
    assert answer.token_ids
    assert answer.finished.usage.tiles == 13


@pytest.mark.parametrize("role", list(ReplicaRole))
async def test_a_killed_replica_costs_its_requests_at_most_and_comes_back(
    cluster: RunningCluster, role: ReplicaRole
) -> None:
    # Pictures never seen before, so that vision has work for all of them.
    first_seed = 100 * list(ReplicaRole).index(role)
    asked = [asking(first_seed + number) for number in range(8)]
    requests = [asyncio.create_task(cluster.client.answer(request)) for request in asked]
    await first_started(cluster.client)
    assert not all(request.done() for request in requests)
    cluster.kill(role)
    outcomes = await asyncio.gather(*requests, return_exceptions=True)
    for request, outcome in zip(asked, outcomes, strict=True):
        undisturbed = await cluster.answer_again(request)
        if isinstance(outcome, DvdError):
            assert isinstance(outcome, UnavailableError)
        else:
            assert isinstance(outcome, Answer)
            assert outcome.token_ids == undisturbed.token_ids


async def test_the_supervisor_counts_restarts(cluster: RunningCluster) -> None:
    await cluster.answer_again()
    shown = scrape(cluster.ready.metrics_address)
    assert shown["dvd_replicas_ready vision"] == shown["dvd_replicas_ready language"] == 1
    assert shown["dvd_replica_restarts_total vision"] == 1


async def first_started(client: InferenceClient) -> None:
    """Wait until a request sent now has been admitted, and so have those before it."""
    stream = client.stream(REQUEST)
    assert isinstance(await anext(stream), inference_pb2.GenerateResponse)
    await stream.aclose()


async def test_a_broken_checkpoint_is_named_at_the_start(
    tmp_path: Path, cluster: RunningCluster
) -> None:
    # The running cluster is the one that Ray is busy with; a broken directory fails before Ray.
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(DvdError, match="model_type"):
        await Supervisor(settings(tmp_path)).start()
    assert (await cluster.answer_again()).token_ids
