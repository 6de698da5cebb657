"""Starts everything in order, watches it, and stops it in the reverse order.

    resolve model -> Ray -> replicas -> roster and control -> routers -> ready
    routers drained -> replicas stopped, or left where they outlive us -> Ray left

The supervisor is not in the data path: without it routers keep the last roster and go on. A router
that dies is started again where it was; Ray starts replicas again.
"""

import asyncio
import logging
from dataclasses import dataclass
from typing import Any

from common.errors import StartupError
from common.metrics import MetricsServer, serve_metrics
from common.rpc import RpcServer
from common.types import ReplicaAddress
from deploy import ray_cluster
from deploy.config import DeployConfig
from deploy.control import SERVICE_NAME as CONTROL_SERVICE_NAME
from deploy.control import ControlServicer
from deploy.deployment import Deployment, find_deployed, plans_of
from deploy.discovery import replace_file, usual_file
from deploy.placement import running_replicas
from deploy.plan import LOOPBACK
from deploy.replica_keeper import ReplicaKeeper
from deploy.roster import SERVICE_NAME, Roster, RosterServicer
from deploy.router_keeper import RouterKeeper
from protos.dvd.v1 import replica_pb2_grpc, supervisor_pb2_grpc
from router.server import RouterReady

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ClusterReady:
    """A cluster that answers.

    Attributes:
        routers: Where the public doors are.
        replicas: Where the replicas are.
        metrics_address: `host:port` of the supervisor's own `/metrics`.
        control_address: `host:port` for `dvd status` and `dvd drain`.
        model_name: Name that clients give.
    """

    routers: tuple[RouterReady, ...]
    replicas: tuple[ReplicaAddress, ...]
    metrics_address: str
    control_address: str
    model_name: str

    @property
    def router(self) -> RouterReady:
        """The first door."""
        return self.routers[0]


class Supervisor:
    """Owns one deployment."""

    def __init__(self, config: DeployConfig, api_key: str = "") -> None:
        self._config = config
        self._api_key = api_key
        self._deployment: Deployment | None = None
        self._rpc: RpcServer | None = None
        self._metrics_server: MetricsServer | None = None
        self._discovering: asyncio.Task[None] | None = None
        self._failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def replicas(self) -> tuple[ReplicaKeeper, ...]:
        """Every replica of the plan."""
        return tuple(self._deployment.replicas) if self._deployment else ()

    @property
    def routers(self) -> tuple[RouterKeeper, ...]:
        """Every router."""
        return tuple(self._deployment.routers) if self._deployment else ()

    @property
    def roster(self) -> Roster:
        """Who serves.

        Raises:
            StartupError: Nothing has been started.
        """
        if self._deployment is None:
            raise StartupError("Nothing has been started.")
        return self._deployment.roster

    async def start(self) -> ClusterReady:
        """Start everything and wait until it answers.

        Raises:
            StartupError: Something cannot start; the message says what.
        """
        config = self._config
        model = find_deployed(config)
        self._deployment = deployment = Deployment(model, self._fail, self._api_key)
        ray_cluster.connect(config)
        found = running_replicas() if deployment.outlives_us else frozenset()
        for plan in plans_of(model, found=found):
            keeper = deployment.keeper(plan)
            deployment.replicas.append(keeper)
            await keeper.place()
        await deployment.wait_until_ready(deployment.replicas, self._failure)
        control_address = await self._serve_control(deployment)
        for settings in deployment.router_settings(model, control_address):
            timeout = config.start_timeout_seconds
            deployment.routers.append(RouterKeeper(settings, timeout, self._fail))
        routers = await asyncio.gather(*(router.start() for router in deployment.routers))
        metrics_address = await self._serve_metrics(deployment, control_address)
        return ClusterReady(
            routers=tuple(routers),
            replicas=deployment.roster.replicas,
            metrics_address=metrics_address,
            control_address=control_address,
            model_name=config.model_name,
        )

    async def run(self, stopping: asyncio.Event) -> None:
        """Watch until told to stop.

        Raises:
            StartupError: A replica or a router failed for good.
        """
        told = asyncio.create_task(stopping.wait())
        waited: tuple[asyncio.Future[Any], ...] = (told, self._failure)
        await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        told.cancel()
        if self._failure.done():
            await self._failure

    async def stop(self) -> None:
        """Drain the routers, stop the replicas where they end with us, leave Ray."""
        await asyncio.gather(*(router.stop() for router in self.routers))
        if self._config.ray.address is not None:
            for replica in self.replicas:
                replica.leave()
            log.info("the replicas stay; dvd down removes them")
        else:
            grace = self._config.drain_seconds
            await asyncio.gather(*(replica.stop(grace) for replica in self.replicas))
        if self._rpc is not None:
            await self._rpc.stop(0)
        if self._discovering is not None:
            self._discovering.cancel()
            await asyncio.wait({self._discovering})
        if self._metrics_server is not None:
            self._metrics_server.close()
        await asyncio.to_thread(ray_cluster.disconnect)

    async def _serve_metrics(self, deployment: Deployment, control_address: str) -> str:
        host, discovery = self._config.router.host, deployment.discovery
        self._metrics_server = server = serve_metrics(
            deployment.metrics.registry, host, self._config.metrics_port, {"/sd": discovery.page}
        )
        discovery.own_address = f"{host}:{server.port}"
        file = self._config.discovery_file or usual_file(control_address)
        replace_file(file, discovery.page())
        log.info("targets for Prometheus in %s and at http://%s/sd", file, discovery.own_address)
        self._discovering = asyncio.create_task(discovery.keep(file))
        return discovery.own_address

    async def _serve_control(self, deployment: Deployment) -> str:
        # Not before Ray is there: Ray forks, and a fork should find no threads of gRPC.
        self._rpc = RpcServer()
        replica_pb2_grpc.add_RosterServiceServicer_to_server(
            RosterServicer(deployment.roster), self._rpc.server
        )
        control = ControlServicer(deployment)
        supervisor_pb2_grpc.add_SupervisorServiceServicer_to_server(control, self._rpc.server)
        # For this machine alone: whoever reaches it may take replicas out.
        address = f"{LOOPBACK}:{self._config.own_control_port}"
        port = await self._rpc.start(address, [SERVICE_NAME, CONTROL_SERVICE_NAME])
        control.address = f"{LOOPBACK}:{port}"
        return control.address

    def _fail(self, message: str) -> None:
        log.error("%s", message)
        if not self._failure.done():
            self._failure.set_exception(StartupError(message))
