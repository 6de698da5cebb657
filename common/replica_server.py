"""What every replica process is made of, around its own servicer: identity, gRPC, metrics.

Both services build on this, so that they have the same shape and the same order of starting and
stopping.
"""

import uuid
from dataclasses import dataclass, field
from pathlib import Path

from prometheus_client import CollectorRegistry

from common.config import LogConfig
from common.errors import ConfigError
from common.health_probe import HealthProbe
from common.metrics import MetricsServer, serve_metrics
from common.rpc import RpcServer
from common.stats_log import StatsLog
from common.types import ReplicaAddress, ReplicaRole
from common.work_gate import WorkGate
from protos.dvd.v1 import embedding_pb2, replica_pb2

UNSPECIFIED_HOSTS = ("", "0.0.0.0", "::", "[::]")  # noqa: S104  # names what is refused
WIRE_ROLES = {
    ReplicaRole.VISION: replica_pb2.REPLICA_ROLE_VISION,
    ReplicaRole.LANGUAGE: replica_pb2.REPLICA_ROLE_LANGUAGE,
}


@dataclass(frozen=True, slots=True)
class ReplicaSpec:
    """What a replica is told when it is started.

    Attributes:
        name: Stable name, such as `vision-0`.
        model_dir: Model directory, readable on the replica's host.
        device: `auto`, `cpu` or `cuda`.
        host: Address to listen on; None for that of its Ray node.
        drain_seconds: Time that what it has begun gets when its process is told to end.
        model_name: Name that clients give, for its metrics.
        log: How it logs.
    """

    name: str
    model_dir: Path
    device: str
    host: str | None = None
    drain_seconds: float = 0.0
    model_name: str = ""
    log: LogConfig = field(default_factory=LogConfig)


@dataclass(frozen=True, slots=True)
class ReplicaIdentity:
    """Which replica this is and what it serves.

    Attributes:
        name: Stable name, such as `vision-0`.
        role: What it does.
        incarnation: New with every start.
        fingerprint: Hash of the served configuration and weights.
    """

    name: str
    role: ReplicaRole
    incarnation: str
    fingerprint: str


def new_identity(name: str, role: ReplicaRole, fingerprint: str) -> ReplicaIdentity:
    """Draw an incarnation for a replica that starts now."""
    return ReplicaIdentity(name, role, uuid.uuid4().hex, fingerprint)


def server_info(
    identity: ReplicaIdentity,
    hidden_size: int,
    weight_bytes: int,
    dtype: embedding_pb2.DType,
) -> replica_pb2.ServerInfo:
    """Tell what `GetServerInfo` answers.

    Args:
        identity: Which replica this is.
        hidden_size: Width of one visual token.
        weight_bytes: Tensor bytes held.
        dtype: Element type that the replica computes in.
    """
    return replica_pb2.ServerInfo(
        replica=replica_pb2.Replica(
            name=identity.name,
            role=WIRE_ROLES[identity.role],
            incarnation=identity.incarnation,
            fingerprint=identity.fingerprint,
        ),
        hidden_size=hidden_size,
        weight_bytes=weight_bytes,
        dtype=dtype,
    )


class ReplicaServer:
    """The listening side of one replica."""

    def __init__(
        self,
        identity: ReplicaIdentity,
        registry: CollectorRegistry,
        max_message_bytes: int,
        probe: HealthProbe,
        work: WorkGate,
        stats: StatsLog | None = None,
    ) -> None:
        """Prepare without listening.

        Args:
            identity: Which replica this is.
            registry: Its metrics.
            max_message_bytes: Largest message.
            probe: What a health check asks.
            work: Which calls are work; what has begun ends before it stops.
            stats: Says in the log how busy it is; None for nothing.
        """
        self.identity = identity
        self.rpc = RpcServer(max_message_bytes, probe.is_healthy, work)
        self._registry = registry
        self._stats = stats
        self._metrics: MetricsServer | None = None

    async def start(self, host: str, service_name: str) -> ReplicaAddress:
        """Listen on free ports of `host` and say where.

        Raises:
            ConfigError: Others cannot reach it by `host`, or it is not ours.
        """
        if host in UNSPECIFIED_HOSTS:
            raise ConfigError(f"A replica must listen where others reach it, not on {host}.")
        port = await self.rpc.start(f"{host}:0", [service_name])
        self._metrics = serve_metrics(self._registry, host)
        if self._stats is not None:
            self._stats.start()
        return ReplicaAddress(
            name=self.identity.name,
            role=self.identity.role,
            incarnation=self.identity.incarnation,
            address=f"{host}:{port}",
            metrics_address=f"{host}:{self._metrics.port}",
            fingerprint=self.identity.fingerprint,
        )

    async def stop(self, grace_seconds: float) -> None:
        """Stop both listeners, once what has begun has ended or the grace has passed."""
        await self.rpc.stop(grace_seconds)
        if self._stats is not None:
            await self._stats.stop()
        metrics, self._metrics = self._metrics, None
        if metrics is not None:
            metrics.close()
