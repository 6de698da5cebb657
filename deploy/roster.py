"""The roster service: who exists, streamed to every router, whole, after every change."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Callable

from common.replica_server import WIRE_ROLES
from common.rpc import RpcContext
from common.types import ReplicaAddress, ReplicaRole
from protos.dvd.v1 import replica_pb2, replica_pb2_grpc

SERVICE_NAME = replica_pb2.DESCRIPTOR.services_by_name["RosterService"].full_name


class Roster:
    """The replicas that are ready; used from the event loop alone."""

    def __init__(self) -> None:
        self._replicas: dict[str, ReplicaAddress] = {}
        self._changed = asyncio.Condition()

    @property
    def replicas(self) -> tuple[ReplicaAddress, ...]:
        """All of them, by name."""
        return tuple(replica for _, replica in sorted(self._replicas.items()))

    def count(self, role: ReplicaRole) -> int:
        """How many replicas of a role are ready; any thread may ask."""
        return sum(replica.role is role for replica in tuple(self._replicas.values()))

    async def put(self, replica: ReplicaAddress) -> None:
        """Add a replica, or replace an earlier incarnation of it."""
        if self._replicas.get(replica.name) != replica:
            self._replicas[replica.name] = replica
            await self._tell()

    def find(self, name: str) -> ReplicaAddress | None:
        """The entry of that name."""
        return self._replicas.get(name)

    async def set_draining(self, name: str) -> None:
        """Tell that a replica takes no new work any more."""
        replica = self._replicas.get(name)
        if replica is not None:
            await self.put(dataclasses.replace(replica, is_draining=True))

    async def remove(self, name: str) -> None:
        """Take a replica off the list."""
        if self._replicas.pop(name, None) is not None:
            await self._tell()

    async def wait_for(self, holds: Callable[[], bool]) -> None:
        """Wait for a condition on the roster."""
        async with self._changed:
            await self._changed.wait_for(holds)

    async def changed_from(self, known: tuple[ReplicaAddress, ...]) -> None:
        """Wait until the roster is another than the given one."""
        await self.wait_for(lambda: self.replicas != known)

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()


class RosterServicer(replica_pb2_grpc.RosterServiceServicer):
    """Streams one roster."""

    def __init__(self, roster: Roster) -> None:
        self._roster = roster

    async def WatchRoster(
        self,
        request: replica_pb2.WatchRosterRequest,
        context: RpcContext,
    ) -> AsyncIterator[replica_pb2.WatchRosterResponse]:
        """Send the roster now and after every change."""
        while True:
            sent = self._roster.replicas
            yield replica_pb2.WatchRosterResponse(
                replicas=[wire_replica(replica) for replica in sent]
            )
            await self._roster.changed_from(sent)


def wire_replica(replica: ReplicaAddress) -> replica_pb2.Replica:
    """Write one entry."""
    return replica_pb2.Replica(
        name=replica.name,
        role=WIRE_ROLES[replica.role],
        incarnation=replica.incarnation,
        address=replica.address,
        metrics_address=replica.metrics_address,
        fingerprint=replica.fingerprint,
        is_draining=replica.is_draining,
    )
