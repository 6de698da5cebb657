"""The Ray actor of a vision replica: one device, one engine, one server.

Ray places, starts and restarts it; requests never pass through Ray.
"""

import os

import ray

from common.config import ImageLimits, VisionServiceConfig
from common.hosted_replica import HostedReplica
from common.log import set_up_logging
from common.replica_server import ReplicaSpec
from common.types import ReplicaAddress
from vision_service.replica import VisionReplica


class VisionActor:
    """Wraps a `VisionReplica`; empty again after every restart by Ray."""

    def __init__(self, spec: ReplicaSpec, config: VisionServiceConfig, limits: ImageLimits) -> None:
        set_up_logging(spec.name, spec.log.level, spec.log.json_lines)

        def build() -> VisionReplica:
            return VisionReplica(spec, config, limits, on_crash=lambda: os._exit(1))

        self._hosted = HostedReplica(spec, build)

    async def serve(self) -> ReplicaAddress:
        """See `HostedReplica`."""
        return await self._hosted.serve(ray.util.get_node_ip_address)

    async def stop(self, grace_seconds: float) -> None:
        """See `HostedReplica`."""
        await self._hosted.stop(grace_seconds)

    def __ray_shutdown__(self) -> None:
        """Drain before the process ends; Ray calls it on SIGTERM, from the main thread."""
        self._hosted.drain()
