"""One replica as this router knows it: is it who it should be, is it alive, how busy is it.

Confirmed by `GetServerInfo`, then followed by its load stream, for as long as it is on the roster.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Generic, Protocol, TypeVar

from common.errors import DvdError
from common.types import ReplicaAddress
from protos.dvd.v1 import embedding_pb2, replica_pb2
from router.fleet_member import LoadSnapshot

log = logging.getLogger(__name__)

INFO_TIMEOUT_SECONDS = 5.0
RECONNECT_SECONDS = 0.2


class ReplicaClient(Protocol):
    """What the pool needs of a client."""

    async def server_info(self, timeout_seconds: float) -> replica_pb2.ServerInfo:
        """Ask which model is served."""

    def watch_load(self) -> AsyncIterator[replica_pb2.LoadReport]:
        """Follow the replica's load until it goes away."""

    async def close(self) -> None:
        """Close the channel."""


C = TypeVar("C", bound=ReplicaClient)


class PooledReplica(Generic[C]):
    """One replica: its client, and what is known of its load."""

    def __init__(
        self,
        address: ReplicaAddress,
        client: C,
        on_change: Callable[[], None],
        on_load: Callable[[LoadSnapshot], None],
    ) -> None:
        self.address = address
        self.client = client
        self._on_change = on_change
        self._on_load = on_load
        self.dtype: embedding_pb2.DType = embedding_pb2.D_TYPE_UNSPECIFIED
        self.is_up = False
        self.placed_work = 0
        self._is_refused = False
        self._num_leases = 0
        self._released = asyncio.Event()
        self._released.set()

    @contextmanager
    def leased(self, work: int) -> Iterator[None]:
        """Count work for the length of the context."""
        self.placed_work += work
        self._num_leases += 1
        self._released.clear()
        try:
            yield
        finally:
            self.placed_work -= work
            self._num_leases -= 1
            if not self._num_leases:
                self._released.set()

    @property
    def is_leased(self) -> bool:
        """Whether something that it has begun is not finished."""
        return not self._released.is_set()

    async def close_when_released(self) -> None:
        """Close the client when all that it has begun is finished."""
        await self._released.wait()
        await self.client.close()

    async def watch(self) -> None:
        """Follow the replica until cancelled; reconnect when the stream breaks."""
        while True:
            try:
                info = await self.client.server_info(INFO_TIMEOUT_SECONDS)
                if self._is_confirmed(info.replica):
                    self.dtype = info.dtype
                    async for load in self.client.watch_load():
                        self._on_load(_snapshot(load))
                        self._set_up(True)
            except DvdError as error:
                if self.is_up:
                    log.warning("lost %s: %s", self.address.name, error.message)
            self._set_up(False)
            await asyncio.sleep(RECONNECT_SECONDS)

    def _is_confirmed(self, replica: replica_pb2.Replica) -> bool:
        if replica.incarnation != self.address.incarnation:
            return False
        if replica.fingerprint != self.address.fingerprint and not self._is_refused:
            self._is_refused = True
            log_mismatch(self.address.name, replica.fingerprint, self.address.fingerprint)
        return replica.fingerprint == self.address.fingerprint

    def _set_up(self, is_up: bool) -> None:
        if is_up != self.is_up:
            self.is_up = is_up
            self._on_change()


def _snapshot(load: replica_pb2.LoadReport) -> LoadSnapshot:
    return LoadSnapshot(
        outstanding_work=load.outstanding_work,
        completed_work=load.completed_work,
        busy_seconds=load.busy_seconds,
        waiting_requests=load.waiting_requests,
    )


def log_mismatch(name: str, theirs: str, ours: str) -> None:
    """Tell the operator why a replica gets no work."""
    log.error("refused %s: model fingerprint differs: it serves %s, ours is %s", name, theirs, ours)
