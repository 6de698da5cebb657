"""Which replicas an operator may take out."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from common.errors import WrongStateError
from common.rpc import RpcServer
from common.types import ReplicaAddress, ReplicaRole
from deploy.config import DeployConfig
from deploy.control import ControlServicer
from deploy.deployment import DeployedModel, Deployment
from deploy.replica_keeper import KeptState
from protos.dvd.v1 import language_pb2, language_pb2_grpc, replica_pb2, supervisor_pb2
from tests.deploy.router_supervisor import IdleLanguage
from tests.loopback import HOST

Health = Callable[[], Any]


@dataclass(frozen=True)
class Plan:
    """What a keeper is asked for its name and role."""

    name: str
    role: ReplicaRole = ReplicaRole.LANGUAGE


@dataclass
class FakeKeeper:
    """Notes that it was drained, and for how long."""

    plan: Plan
    state: KeptState = KeptState.SERVING
    graces: list[float] = field(default_factory=list)

    async def drain(self, grace_seconds: float) -> None:
        self.graces.append(grace_seconds)


async def well() -> bool:
    return True


async def unwell() -> bool:
    return False


@asynccontextmanager
async def replica(health: Health) -> AsyncIterator[str]:
    """Where a language replica listens whose health is this."""
    info = replica_pb2.ServerInfo()
    servicer = IdleLanguage(
        language_pb2.LanguageServiceGetServerInfoResponse(info=info),
        language_pb2.LanguageServiceWatchLoadResponse(),
    )
    server = RpcServer(is_healthy=health)
    language_pb2_grpc.add_LanguageServiceServicer_to_server(servicer, server.server)
    port = await server.start(f"{HOST}:0", ["dvd.v1.LanguageService"])
    try:
        yield f"{HOST}:{port}"
    finally:
        await server.stop(0)


async def drain(*addresses: str) -> FakeKeeper:
    """Ask for the first of the replicas at these addresses to be drained."""
    config = DeployConfig(drain_seconds=7.0)
    deployment = Deployment(DeployedModel(config, Path("model"), "f"), on_failure=lambda _: None)
    keepers = [FakeKeeper(Plan(f"language-{index}")) for index in range(max(1, len(addresses)))]
    deployment.replicas.extend(keepers)
    for keeper, address in zip(keepers, addresses, strict=False):
        await deployment.roster.put(
            ReplicaAddress(keeper.plan.name, ReplicaRole.LANGUAGE, "i", address, "", "f")
        )
    request = supervisor_pb2.DrainReplicaRequest(name="language-0")
    await ControlServicer(deployment).DrainReplica(request, None)
    return keepers[0]


async def test_one_of_two_is_drained_for_as_long_as_the_configuration_says() -> None:
    async with replica(well) as one, replica(well) as other:
        assert (await drain(one, other)).graces == [7.0]


async def test_the_last_that_works_is_not_drained() -> None:
    async with replica(well) as one:
        with pytest.raises(WrongStateError, match="language-0 is the last language replica that"):
            await drain(one)


async def test_the_last_may_be_drained_when_it_does_not_work_to_be_started_anew() -> None:
    async with replica(unwell) as one:
        assert (await drain(one)).graces == [7.0]


async def test_the_last_may_be_drained_when_it_is_not_there() -> None:
    assert (await drain()).graces == [7.0]
