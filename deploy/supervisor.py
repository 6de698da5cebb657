"""Starts everything in order, watches it, and stops it in the reverse order.

    resolve model -> Ray -> replicas -> roster service -> router -> ready
    router drained -> replicas stopped -> Ray left

The supervisor is not in the data path: without it routers keep the last roster and go on.
"""

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from ray.exceptions import ActorUnavailableError, RayActorError, RayTaskError

from common.errors import DvdError, StartupError
from common.metrics import MetricsServer, serve_metrics
from common.model_config import load_model_config
from common.model_files import fingerprint
from common.rpc import RpcServer
from common.types import ReplicaAddress
from deploy import ray_cluster
from deploy.config import DeployConfig
from deploy.metrics import SupervisorMetrics
from deploy.model import find_model
from deploy.placement import PlacedReplica
from deploy.plan import plan_replicas
from deploy.roster import SERVICE_NAME, Roster, RosterServicer
from deploy.router_process import RouterProcess
from protos.dvd.v1 import replica_pb2_grpc
from router.server import RouterReady, RouterSettings

log = logging.getLogger(__name__)

POLL_SECONDS = 1.0
STOP_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class ClusterReady:
    """A cluster that answers.

    Attributes:
        router: Where the public door is.
        replicas: Where the replicas are.
        metrics_address: `host:port` of the supervisor's own `/metrics`.
        model_name: Name that clients give.
    """

    router: RouterReady
    replicas: tuple[ReplicaAddress, ...]
    metrics_address: str
    model_name: str


class Supervisor:
    """Owns one deployment."""

    def __init__(self, config: DeployConfig) -> None:
        self._config = config
        self._roster = Roster()
        self._rpc: RpcServer | None = None
        self._metrics = SupervisorMetrics(self._roster)
        self._metrics_server: MetricsServer | None = None
        self._placed: list[PlacedReplica] = []
        self._watches: list[asyncio.Task[None]] = []
        self._router: RouterProcess | None = None
        self._failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def replicas(self) -> tuple[PlacedReplica, ...]:
        """Every replica that was started."""
        return tuple(self._placed)

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
        model_config = load_model_config(model_dir)
        model_fingerprint = fingerprint(model_dir)
        device = config.device
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        ray_cluster.connect(config)
        for plan in plan_replicas(config, model_dir, device):
            self._placed.append(await asyncio.to_thread(PlacedReplica, plan))
        self._watches = [asyncio.create_task(self._watch(placed)) for placed in self._placed]
        await self._wait_for_replicas()
        settings = RouterSettings(
            config=config.router,
            model_name=config.model_name,
            model_dir=model_dir,
            fingerprint=model_fingerprint,
            max_context_tokens=config.language.service.context_tokens(
                model_config.max_context_tokens
            ),
            supervisor=await self._serve_roster(),
            drain_seconds=config.drain_seconds,
        )
        self._router = await RouterProcess.start(settings, config.start_timeout_seconds)
        host = config.router.host
        self._metrics_server = serve_metrics(self._metrics.registry, host)
        return ClusterReady(
            router=self._router.ready,
            replicas=self._roster.replicas,
            metrics_address=f"{host}:{self._metrics_server.port}",
            model_name=config.model_name,
        )

    async def run(self, stopping: asyncio.Event) -> None:
        """Watch until told to stop.

        Raises:
            StartupError: A replica or the router failed for good.
        """
        told = asyncio.create_task(stopping.wait())
        router = asyncio.create_task(self._router_ended())
        waited: tuple[asyncio.Future[Any], ...] = (told, router, self._failure)
        await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        for task in (told, router):
            task.cancel()
        if self._failure.done():
            await self._failure

    async def stop(self) -> None:
        """Drain the router, stop the replicas, leave Ray."""
        if self._router is not None:
            await self._router.stop()
        for watch in self._watches:
            watch.cancel()
        await asyncio.gather(*(self._stop_replica(placed) for placed in self._placed))
        if self._rpc is not None:
            await self._rpc.stop(0)
        if self._metrics_server is not None:
            self._metrics_server.close()
        await asyncio.to_thread(ray_cluster.disconnect)

    async def _router_ended(self) -> None:
        if self._router is not None:
            await self._router.wait()
            self._fail("The router ended unexpectedly; its log is above.")

    async def _serve_roster(self) -> str:
        # Not before Ray is there: Ray forks, and a fork should find no threads of gRPC.
        self._rpc = RpcServer()
        replica_pb2_grpc.add_RosterServiceServicer_to_server(
            RosterServicer(self._roster), self._rpc.server
        )
        host = self._config.router.host
        return f"{host}:{await self._rpc.start(f'{host}:0', [SERVICE_NAME])}"

    async def _wait_for_replicas(self) -> None:
        wanted = len(self._placed)
        ready = asyncio.create_task(
            self._roster.wait_for(lambda: len(self._roster.replicas) == wanted)
        )
        timeout = self._config.start_timeout_seconds
        await asyncio.wait(
            {ready, self._failure}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED
        )
        if self._failure.done():
            ready.cancel()
            await self._failure
        if not ready.done():
            ready.cancel()
            here = {replica.name for replica in self._roster.replicas}
            late = sorted({placed.plan.name for placed in self._placed} - here)
            raise StartupError(f"Not ready after {timeout:g} seconds: {', '.join(late)}.")

    async def _watch(self, placed: PlacedReplica) -> None:
        """Keep one replica's entry in the roster true, for as long as Ray keeps it alive."""
        name, incarnation = placed.plan.name, None
        while True:
            try:
                address: ReplicaAddress = await placed.actor.serve.remote()
                if incarnation not in (None, address.incarnation):
                    self._metrics.restarts.labels(placed.plan.role).inc()
                incarnation = address.incarnation
                await self._roster.put(address)
            except ActorUnavailableError:
                log.warning("%s is restarting", name)
                await self._roster.remove(name)
            except RayActorError:
                await self._roster.remove(name)
                return self._fail(f"{name} died more often than it may be restarted.")
            except RayTaskError as error:
                cause = error.cause
                known = isinstance(cause, DvdError)
                return self._fail(f"{name}: {cause.message if known else 'internal error'}")
            await asyncio.sleep(POLL_SECONDS)

    def _fail(self, message: str) -> None:
        log.error("%s", message)
        if not self._failure.done():
            self._failure.set_exception(StartupError(message))

    async def _stop_replica(self, placed: PlacedReplica) -> None:
        grace = self._config.drain_seconds
        with suppress(RayActorError, RayTaskError, TimeoutError):
            async with asyncio.timeout(grace + STOP_SECONDS):
                await placed.actor.stop.remote(grace)
        if self._config.ray.address is not None:
            # Our own Ray ends with us; on another's cluster nothing of ours may stay behind.
            await asyncio.to_thread(placed.kill)
