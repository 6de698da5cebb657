"""What an operator asks of a running deployment, over gRPC on the supervisor's own host."""

import asyncio
from dataclasses import dataclass

from common.errors import DvdError, InvalidRequestError, UnreachableError, WrongStateError
from common.health_client import is_serving
from common.replica_server import WIRE_ROLES
from common.rpc import RpcContext, open_channel
from common.types import ReplicaAddress, ReplicaRole
from deploy.deployment import Deployment, find_deployed, served_by
from deploy.replica_keeper import KeptState, ReplicaKeeper
from deploy.roll import Roll
from deploy.roster import wire_replica
from deploy.router_keeper import RouterKeeper
from protos.dvd.v1 import replica_pb2, supervisor_pb2, supervisor_pb2_grpc
from router.language_client import LanguageClient
from router.vision_client import VisionClient

SERVICE_NAME = supervisor_pb2.DESCRIPTOR.services_by_name["SupervisorService"].full_name

ASK_SECONDS = 3.0
MAX_MESSAGE_BYTES = 1 << 20
STATES = {
    KeptState.SERVING: supervisor_pb2.REPLICA_STATE_STARTING,
    KeptState.DRAINING: supervisor_pb2.REPLICA_STATE_DRAINING,
    KeptState.DRAINED: supervisor_pb2.REPLICA_STATE_DRAINED,
}


class ControlServicer(supervisor_pb2_grpc.SupervisorServiceServicer):
    """Operates one deployment.

    Attributes:
        address: `host:port` of its server, once that listens.
    """

    def __init__(self, deployment: Deployment) -> None:
        self.address = ""
        self._deployment = deployment
        self._is_rolling = False

    async def GetStatus(
        self, request: supervisor_pb2.GetStatusRequest, context: RpcContext
    ) -> supervisor_pb2.GetStatusResponse:
        """Ask everyone how they are, now."""
        deployment = self._deployment
        keepers = sorted(deployment.replicas, key=lambda keeper: keeper.plan.name)
        replicas = asyncio.gather(*map(self._replica_status, keepers))
        routers = asyncio.gather(*map(_router_status, deployment.routers))
        return supervisor_pb2.GetStatusResponse(
            model=deployment.config.model_name,
            fingerprint=deployment.model.fingerprint,
            replicas=await replicas,
            routers=await routers,
        )

    async def DrainReplica(
        self, request: supervisor_pb2.DrainReplicaRequest, context: RpcContext
    ) -> supervisor_pb2.DrainReplicaResponse:
        """Take a replica out; the caller need not stay for it."""
        keeper = self._find(request.name)
        if not self._has_others(keeper) and await self._works(keeper):
            raise WrongStateError(
                f"{request.name} is the last {keeper.plan.role} replica that takes work: without "
                "it no request can be answered."
            )
        await asyncio.shield(
            asyncio.create_task(keeper.drain(self._deployment.config.drain_seconds))
        )
        return supervisor_pb2.DrainReplicaResponse()

    async def ReturnReplica(
        self, request: supervisor_pb2.ReturnReplicaRequest, context: RpcContext
    ) -> supervisor_pb2.ReturnReplicaResponse:
        """Start a drained replica."""
        keeper = self._find(request.name)
        if keeper.state is not KeptState.DRAINED:
            raise WrongStateError(f"{request.name} is {keeper.state}, and not drained.")
        await asyncio.shield(asyncio.create_task(keeper.place()))
        await keeper.wait_until_ready()
        return supervisor_pb2.ReturnReplicaResponse()

    async def RollModel(
        self, request: supervisor_pb2.RollModelRequest, context: RpcContext
    ) -> supervisor_pb2.RollModelResponse:
        """Exchange the model; the caller need not stay for it."""
        if self._is_rolling:
            raise WrongStateError("A roll is under way already.")
        self._is_rolling = True
        return await asyncio.shield(asyncio.create_task(self._roll(request)))

    async def _roll(
        self, request: supervisor_pb2.RollModelRequest
    ) -> supervisor_pb2.RollModelResponse:
        try:
            config = served_by(self._deployment.config, request.model, request.revision or None)
            model = await asyncio.to_thread(find_deployed, config)
            await Roll(self._deployment, model, self.address).run()
            return supervisor_pb2.RollModelResponse(fingerprint=model.fingerprint)
        finally:
            self._is_rolling = False

    def _find(self, name: str) -> ReplicaKeeper:
        for keeper in self._deployment.replicas:
            if keeper.plan.name == name:
                return keeper
        known = ", ".join(sorted(keeper.plan.name for keeper in self._deployment.replicas))
        raise InvalidRequestError(f"There is no replica {name!r}; there are {known}.", "name")

    def _has_others(self, keeper: ReplicaKeeper) -> bool:
        return any(
            other.role is keeper.plan.role
            and other.name != keeper.plan.name
            and not other.is_draining
            for other in self._deployment.roster.replicas
        )

    async def _works(self, keeper: ReplicaKeeper) -> bool:
        """Whether it is there and passes its probe; one that does not is drained to start anew."""
        address = self._deployment.roster.find(keeper.plan.name)
        return address is not None and (await _ask(address)).is_serving

    async def _replica_status(self, keeper: ReplicaKeeper) -> supervisor_pb2.ReplicaStatus:
        address = self._deployment.roster.find(keeper.plan.name)
        if address is None:
            who = replica_pb2.Replica(name=keeper.plan.name, role=WIRE_ROLES[keeper.plan.role])
            return supervisor_pb2.ReplicaStatus(
                replica=who, state=STATES[keeper.state], num_ranks=keeper.num_ranks
            )
        state = STATES[keeper.state]
        answer = await _ask(address)
        if keeper.state is KeptState.SERVING:
            state = (
                supervisor_pb2.REPLICA_STATE_SERVING
                if answer.is_serving
                else supervisor_pb2.REPLICA_STATE_UNHEALTHY
            )
        return supervisor_pb2.ReplicaStatus(
            replica=wire_replica(address),
            state=state,
            load=answer.load,
            num_ranks=keeper.num_ranks,
        )


@dataclass(frozen=True, slots=True)
class ReplicaAnswer:
    """What a replica says of itself; without an answer it does not serve and has no load."""

    is_serving: bool = False
    load: replica_pb2.LoadReport | None = None


async def _ask(address: ReplicaAddress) -> ReplicaAnswer:
    kind = VisionClient if address.role is ReplicaRole.VISION else LanguageClient
    client: VisionClient | LanguageClient = kind(address, MAX_MESSAGE_BYTES)
    try:
        async with asyncio.timeout(ASK_SECONDS):
            load = await anext(client.watch_load())
            return ReplicaAnswer(await client.is_serving(ASK_SECONDS), load)
    except (DvdError, TimeoutError):
        return ReplicaAnswer()
    finally:
        await client.close()


async def _router_status(keeper: RouterKeeper) -> supervisor_pb2.RouterStatus:
    try:
        async with open_channel(keeper.ready.address) as channel:
            serves = await is_serving(channel, ASK_SECONDS)
    except UnreachableError:
        serves = False
    return supervisor_pb2.RouterStatus(
        address=keeper.ready.address,
        metrics_address=keeper.ready.metrics_address,
        is_serving=serves,
        restarts=keeper.restarts,
    )
