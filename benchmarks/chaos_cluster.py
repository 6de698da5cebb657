"""A whole cluster as processes, with a faulty network between them, for `benchmarks.chaos`.

Replicas and routers can each be killed and started again at will. Routers, and through them vision
replicas, know a replica by the address of a relay in front of it.
"""

import asyncio
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.chaos_replica import HOST, ReplicaOrder, ReplicaProcess
from common.config import RouterConfig
from common.model_config import load_model_config
from common.model_files import fingerprint
from common.rpc import RpcServer
from deploy.roster import SERVICE_NAME, Roster, RosterServicer
from deploy.router_process import RouterProcess
from protos.dvd.v1 import replica_pb2_grpc
from router.server import RouterSettings
from tests.faulty_relay import FaultyRelay

START_SECONDS = 60.0
# From a replica's first word to its first work: the roster, its introduction, its first report.
SETTLE_SECONDS = 1.0


@dataclass(slots=True)
class Outage:
    """A time in which no member of a kind was known to work.

    Attributes:
        kind: `vision`, `language` or `router`.
        began_at: On the monotonic clock.
        ended_at: None while it lasts.
    """

    kind: str
    began_at: float
    ended_at: float | None = None

    def touches(self, began_at: float, ended_at: float) -> bool:
        """Whether it shares a moment with another time."""
        return self.began_at <= ended_at and (self.ended_at is None or self.ended_at >= began_at)


class Kinds:
    """Who works, by kind; remembers when nobody did."""

    def __init__(self) -> None:
        self.outages: list[Outage] = []
        self._healthy: dict[str, set[str]] = {}

    def joined(self, kind: str, name: str) -> None:
        """Note that a member works."""
        self._healthy.setdefault(kind, set()).add(name)
        for outage in self.outages:
            if outage.kind == kind and outage.ended_at is None:
                outage.ended_at = time.monotonic()

    def left(self, kind: str, name: str) -> None:
        """Note that a member does not, or soon will not."""
        healthy = self._healthy[kind]
        if name in healthy:
            healthy.remove(name)
            if not healthy:
                self.outages.append(Outage(kind, time.monotonic()))

    def healthy(self, kind: str) -> list[str]:
        """Who works."""
        return sorted(self._healthy.get(kind, ()))


class ChaosReplica:
    """One replica and the network in front of it."""

    def __init__(self, order: ReplicaOrder, roster: Roster, kinds: Kinds) -> None:
        self.order = order
        self.relay = FaultyRelay("")
        self._roster = roster
        self._kinds = kinds
        self._process: ReplicaProcess | None = None

    async def start(self) -> None:
        """Run it and put it on the roster; return when others know."""
        self._process = await ReplicaProcess.start(self.order)
        address = self._process.address
        self.relay = FaultyRelay(address.address)
        await self.relay.start()
        await self._roster.put(replace(address, address=self.relay.address))
        await asyncio.sleep(SETTLE_SECONDS)
        self._kinds.joined(self.order.role, self.order.name)

    async def kill(self) -> None:
        """Kill it; the roster says nothing for a while, as with Ray."""
        self._kinds.left(self.order.role, self.order.name)
        if self._process is not None:
            await self._process.kill()
        await self.relay.stop()

    async def silence(self, seconds: float) -> None:
        """Partition it from everybody for a while."""
        self._kinds.left(self.order.role, self.order.name)
        self.relay.silence()
        await asyncio.sleep(seconds)
        self.relay.heal()
        await asyncio.sleep(SETTLE_SECONDS)
        self._kinds.joined(self.order.role, self.order.name)

    async def slow_down(self, delay_seconds: float, seconds: float) -> None:
        """Make its network slow for a while."""
        self.relay.delay_seconds = delay_seconds
        await asyncio.sleep(seconds)
        self.relay.delay_seconds = 0.0


class ChaosRouter:
    """One router, always behind the same port."""

    def __init__(self, settings: RouterSettings, name: str, kinds: Kinds) -> None:
        self.address = ""
        self.name = name
        self._settings = settings
        self._kinds = kinds
        self._process: RouterProcess | None = None

    async def start(self) -> None:
        """Run it."""
        self._process = await RouterProcess.start(self._settings, START_SECONDS)
        self.address = self._process.ready.address
        port = int(self.address.rpartition(":")[2])
        config = self._settings.config.model_copy(update={"grpc_port": port, "http_port": 0})
        self._settings = self._settings.model_copy(update={"config": config})
        self._kinds.joined("router", self.name)

    async def kill(self) -> None:
        """Kill it."""
        self._kinds.left("router", self.name)
        if self._process is not None:
            await self._process.kill()


class ChaosCluster:
    """Everything."""

    def __init__(self, orders: list[ReplicaOrder], config: RouterConfig, num_routers: int) -> None:
        self.kinds = Kinds()
        self.roster = Roster()
        self.replicas = [ChaosReplica(order, self.roster, self.kinds) for order in orders]
        self.routers: list[ChaosRouter] = []
        self._model_dir: Path = orders[0].model_dir
        self._config = config
        self._num_routers = num_routers
        self._rpc = RpcServer()

    async def start(self) -> None:
        """Start all."""
        replica_pb2_grpc.add_RosterServiceServicer_to_server(
            RosterServicer(self.roster), self._rpc.server
        )
        port = await self._rpc.start(f"{HOST}:0", [SERVICE_NAME])
        await asyncio.gather(*(replica.start() for replica in self.replicas))
        settings = self._settings(f"{HOST}:{port}")
        self.routers = [
            ChaosRouter(settings, f"router-{index}", self.kinds)
            for index in range(self._num_routers)
        ]
        await asyncio.gather(*(router.start() for router in self.routers))

    async def stop(self) -> None:
        """End all."""
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._rpc.stop, 0)
            for replica in self.replicas:
                stack.push_async_callback(replica.kill)
            for router in self.routers:
                stack.push_async_callback(router.kill)

    def _settings(self, supervisor: str) -> RouterSettings:
        return RouterSettings(
            config=self._config,
            model_name="chaos",
            model_dir=self._model_dir,
            fingerprint=fingerprint(self._model_dir),
            max_context_tokens=self._context_tokens(),
            supervisor=supervisor,
            drain_seconds=0.0,
        )

    def _context_tokens(self) -> int:
        longest = load_model_config(self._model_dir).max_context_tokens
        return self.replicas[0].order.language.context_tokens(longest)
