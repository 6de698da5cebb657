"""The Ray actor of a vision replica: one device, one engine, one server.

Ray places, starts and restarts it; requests never pass through Ray.
"""

import os

import ray

from common.config import ImageLimits, VisionServiceConfig
from common.errors import StartupError
from common.log import set_up_logging
from common.loop_thread import LoopThread
from common.replica_server import ReplicaSpec
from common.types import ReplicaAddress
from vision_service.replica import VisionReplica


class VisionActor:
    """Wraps a `VisionReplica`; empty again after every restart by Ray."""

    def __init__(self, spec: ReplicaSpec, config: VisionServiceConfig, limits: ImageLimits) -> None:
        set_up_logging(spec.name, spec.log.level, spec.log.json_lines)
        self._replica: VisionReplica | None = None
        self._failure: StartupError | None = None
        self._address: ReplicaAddress | None = None
        self._spec = spec
        self._loop = LoopThread("serving")
        try:
            self._replica = self._loop.run_to_end(self._build(config, limits))
        except StartupError as error:
            # Raised by `serve`, so that the supervisor gets the sentence and not Ray's wrapping.
            self._failure = error

    async def serve(self) -> ReplicaAddress:
        """Start serving on the first call; say where.

        Raises:
            StartupError: The replica could not be built.
        """
        return await self._loop.run(self._serve())

    async def stop(self, grace_seconds: float) -> None:
        """Refuse new work, let what has begun end within the grace, and stop."""
        await self._loop.run(self._stop(grace_seconds))

    def __ray_shutdown__(self) -> None:
        """Drain before the process ends; Ray calls it on SIGTERM, from the main thread."""
        self._loop.run_to_end(self._stop(self._spec.drain_seconds))

    async def _build(self, config: VisionServiceConfig, limits: ImageLimits) -> VisionReplica:
        # In the loop that it will serve from, to which gRPC binds a server when it is made.
        return VisionReplica(self._spec, config, limits, on_crash=lambda: os._exit(1))

    async def _serve(self) -> ReplicaAddress:
        if self._replica is None:
            raise self._failure or StartupError()
        if self._address is None:
            own: str = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
            self._address = await self._replica.start(self._spec.host or own)
        return self._address

    async def _stop(self, grace_seconds: float) -> None:
        if self._replica is not None:
            await self._replica.stop(grace_seconds)
