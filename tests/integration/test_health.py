"""Health of real replicas, as gRPC and the router see it: the model itself decides."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch import nn

from common.config import HealthConfig, RouterConfig
from common.errors import DeadlineExpiredError, UnavailableError
from common.health_client import is_serving
from common.rpc import open_channel
from router.replica_health import HealthState
from router.replica_pool import ReplicaPool
from tests import pictures
from tests.fakes import pass_time
from tests.integration.metrics import scrape
from tests.integration.requests import wire_request
from tests.local_cluster import HOST, ClusterOptions, LocalCluster, local_cluster
from tests.reference.conversation import user

EAGER = HealthConfig(probe_interval_seconds=0.2)
OPTIONS = ClusterOptions(router=RouterConfig(grpc_port=0, health=EAGER))
PATIENCE_SECONDS = 60.0


@contextmanager
def broken(module: nn.Module) -> Iterator[None]:
    """A module whose weights are no numbers for the length of the context."""
    weight = next(module.parameters())
    kept = weight.detach().clone()
    with torch.no_grad():
        weight.fill_(float("nan"))
    try:
        yield
    finally:
        with torch.no_grad():
            weight.copy_(kept)


async def until_state(pool: ReplicaPool, *states: HealthState) -> None:
    """Wait until the only replica of a pool is in one of these states."""
    (replica,) = pool.replicas
    async with asyncio.timeout(PATIENCE_SECONDS):
        while replica.state not in states:
            await pass_time(0.01)


def part(cluster: LocalCluster, role: str) -> nn.Module:
    """A module that every forward of a replica needs."""
    if role == "vision":
        return cluster.visions[0].engine._model.mlp1
    return cluster.languages[0].engine._runner._model.get_input_embeddings()


@pytest.mark.parametrize("role", ["vision", "language"])
async def test_mode_6_health_fails_while_the_model_is_broken_and_the_router_takes_it_out(
    flash_model_dir: Path, role: str
) -> None:
    async with local_cluster(flash_model_dir, OPTIONS) as cluster:
        pool = cluster.router.visions if role == "vision" else cluster.router.languages
        (replica,) = pool.replicas
        async with open_channel(replica.address.address) as channel:
            assert await is_serving(channel, PATIENCE_SECONDS)
            with broken(part(cluster, role)):
                await until_state(pool, HealthState.EJECTED, HealthState.PROBING)
                assert not await is_serving(channel, PATIENCE_SECONDS)
                request = wire_request((user(pictures.grid(1, 1, 5), "What is this?"),), 4)
                # Pictures wait ten seconds for a vision replica to come back; not here.
                with pytest.raises((UnavailableError, DeadlineExpiredError)):
                    await cluster.client.answer(request, timeout_seconds=2.0)
            await until_state(pool, HealthState.UP)
            assert await is_serving(channel, PATIENCE_SECONDS)
            assert (await cluster.client.answer(request)).token_ids


async def test_the_state_of_every_replica_is_a_metric(flash_model_dir: Path) -> None:
    async with local_cluster(flash_model_dir) as cluster:
        metrics = f"{HOST}:{cluster.router._metrics_server.port}"
        shown = await asyncio.to_thread(scrape, metrics)
        for name in ("vision-0", "language-0"):
            states = {state: shown[f"dvd_replica_state {name} {state}"] for state in HealthState}
            assert states == {**dict.fromkeys(HealthState, 0), HealthState.UP: 1}
