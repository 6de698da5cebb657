"""Starts everything in order, watches it, and stops it in the reverse order.

    resolve model -> Ray -> replicas -> roster and control -> routers -> ready
    routers drained -> replicas stopped, or left where they outlive us -> Ray left

The supervisor is not in the data path: without it routers keep the last roster and go on. A router
that dies is started again where it was; Ray starts replicas again.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from common.errors import StartupError
from common.metrics import MetricsServer, serve_metrics
from common.model_config import load_model_config
from common.model_files import fingerprint
from common.rpc import RpcServer
from common.types import ReplicaAddress
from deploy import ray_cluster
from deploy.config import DeployConfig
from deploy.control import SERVICE_NAME as CONTROL_SERVICE_NAME
from deploy.control import ControlServicer, Deployment
from deploy.metrics import SupervisorMetrics
from deploy.model import find_model
from deploy.plan import LOOPBACK, plan_replicas
from deploy.replica_keeper import ReplicaKeeper
from deploy.roster import SERVICE_NAME, Roster, RosterServicer
from deploy.router_keeper import RouterKeeper
from protos.dvd.v1 import replica_pb2_grpc, supervisor_pb2_grpc
from router.server import RouterReady, RouterSettings

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

    def __init__(self, config: DeployConfig) -> None:
        self._config = config
        self._roster = Roster()
        self._rpc: RpcServer | None = None
        self._metrics = SupervisorMetrics(self._roster)
        self._metrics_server: MetricsServer | None = None
        self._replicas: list[ReplicaKeeper] = []
        self._routers: list[RouterKeeper] = []
        self._outlives_us = config.ray.address is not None
        self._failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def replicas(self) -> tuple[ReplicaKeeper, ...]:
        """Every replica of the plan."""
        return tuple(self._replicas)

    @property
    def roster(self) -> Roster:
        """The replicas that are ready now."""
        return self._roster

    async def start(self) -> ClusterReady:
        """Start everything and wait until it answers.

        Raises:
            StartupError: Something cannot start; the message says what.
        """
        config = self._config
        model_dir = find_model(config)
        model_fingerprint = fingerprint(model_dir)
        model_config = load_model_config(model_dir)
        ray_cluster.connect(config)
        await self._place_replicas(model_dir, model_fingerprint)
        control_address = await self._serve_control(model_fingerprint)
        settings = RouterSettings(
            config=config.router,
            model_name=config.model_name,
            model_dir=model_dir,
            fingerprint=model_fingerprint,
            max_context_tokens=config.language.service.context_tokens(
                model_config.max_context_tokens
            ),
            supervisor=control_address,
            drain_seconds=config.drain_seconds,
        )
        routers = await self._start_routers(settings)
        host = config.router.host
        self._metrics_server = serve_metrics(self._metrics.registry, host)
        return ClusterReady(
            routers=tuple(routers),
            replicas=self._roster.replicas,
            metrics_address=f"{host}:{self._metrics_server.port}",
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
        await asyncio.gather(*(router.stop() for router in self._routers))
        if self._outlives_us:
            for replica in self._replicas:
                replica.leave()
            log.info("the replicas stay; dvd down removes them")
        else:
            grace = self._config.drain_seconds
            await asyncio.gather(*(replica.stop(grace) for replica in self._replicas))
        if self._rpc is not None:
            await self._rpc.stop(0)
        if self._metrics_server is not None:
            self._metrics_server.close()
        await asyncio.to_thread(ray_cluster.disconnect)

    async def _place_replicas(self, model_dir: Path, model_fingerprint: str) -> None:
        config = self._config
        device = config.device
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        for plan in plan_replicas(config, model_dir, model_fingerprint, device):
            keeper = ReplicaKeeper(plan, self._roster, self._metrics, self._outlives_us, self._fail)
            self._replicas.append(keeper)
            await keeper.place()
        await self._wait_for_replicas()

    async def _serve_control(self, model_fingerprint: str) -> str:
        # Not before Ray is there: Ray forks, and a fork should find no threads of gRPC.
        config = self._config
        self._rpc = RpcServer()
        replica_pb2_grpc.add_RosterServiceServicer_to_server(
            RosterServicer(self._roster), self._rpc.server
        )
        deployment = Deployment(
            config.model_name, model_fingerprint, self._replicas, self._routers, self._roster
        )
        supervisor_pb2_grpc.add_SupervisorServiceServicer_to_server(
            ControlServicer(deployment, config.drain_seconds), self._rpc.server
        )
        # For this machine alone: whoever reaches it may take replicas out.
        address = f"{LOOPBACK}:{config.own_control_port}"
        port = await self._rpc.start(address, [SERVICE_NAME, CONTROL_SERVICE_NAME])
        return f"{LOOPBACK}:{port}"

    async def _start_routers(self, settings: RouterSettings) -> Sequence[RouterReady]:
        config = self._config
        for index in range(config.routers):
            own = settings.model_copy(update={"config": config.router_config(index)})
            timeout = config.start_timeout_seconds
            self._routers.append(RouterKeeper(own, timeout, self._fail))
        return await asyncio.gather(*(router.start() for router in self._routers))

    async def _wait_for_replicas(self) -> None:
        ready = asyncio.gather(*(keeper.wait_until_ready() for keeper in self._replicas))
        timeout = self._config.start_timeout_seconds
        waited: tuple[asyncio.Future[Any], ...] = (ready, self._failure)
        await asyncio.wait(waited, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        if self._failure.done():
            ready.cancel()
            await self._failure
        if not ready.done():
            ready.cancel()
            here = {replica.name for replica in self._roster.replicas}
            late = sorted({keeper.plan.name for keeper in self._replicas} - here)
            raise StartupError(f"Not ready after {timeout:g} seconds: {', '.join(late)}.")

    def _fail(self, message: str) -> None:
        log.error("%s", message)
        if not self._failure.done():
            self._failure.set_exception(StartupError(message))
