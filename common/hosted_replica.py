"""A replica inside an actor: built once, served from a loop of its own, drained when it is told.

Both actors hold one. What cannot start is kept until somebody asks for the address, so that the
supervisor gets the sentence and not Ray's wrapping of a constructor that raises.
"""

from collections.abc import Callable
from typing import Protocol

from common.errors import StartupError
from common.loop_thread import LoopThread
from common.replica_server import ReplicaSpec
from common.types import ReplicaAddress


class Replica(Protocol):
    """What is hosted."""

    async def start(self, host: str) -> ReplicaAddress:
        """Listen, and say where."""

    async def stop(self, grace_seconds: float) -> None:
        """Let what has begun end within the grace, and stop."""


class HostedReplica:
    """One replica of this process."""

    def __init__(self, spec: ReplicaSpec, build: Callable[[], Replica]) -> None:
        """Build the replica.

        Args:
            spec: What it is told.
            build: Makes it, in the loop that it will serve from, to which gRPC binds a server.
        """
        self._spec = spec
        self._replica: Replica | None = None
        self._failure: StartupError | None = None
        self._address: ReplicaAddress | None = None
        self._loop = LoopThread("serving")
        try:
            self._replica = self._loop.run_to_end(_built(build))
        except StartupError as error:
            self._failure = error

    async def serve(self, own_host: Callable[[], str]) -> ReplicaAddress:
        """Start serving on the first call; say where.

        Args:
            own_host: Address of this node, where the replica is told none.

        Raises:
            StartupError: The replica could not be built.
        """
        return await self._loop.run(self._serve(own_host))

    async def stop(self, grace_seconds: float) -> None:
        """Refuse new work, let what has begun end within the grace, and stop."""
        await self._loop.run(self._stop(grace_seconds))

    def drain(self) -> None:
        """Stop as the replica was told to, and block this thread until it has."""
        self._loop.run_to_end(self._stop(self._spec.drain_seconds))

    async def _serve(self, own_host: Callable[[], str]) -> ReplicaAddress:
        if self._replica is None:
            raise self._failure or StartupError()
        if self._address is None:
            self._address = await self._replica.start(self._spec.host or own_host())
        return self._address

    async def _stop(self, grace_seconds: float) -> None:
        if self._replica is not None:
            await self._replica.stop(grace_seconds)


async def _built(build: Callable[[], Replica]) -> Replica:
    return build()
