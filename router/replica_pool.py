"""The replicas of one role as this router knows them: roster in, placements out.

The roster says who exists; a load stream to each says who is alive and how busy. A replica takes
work once it has confirmed who it is and that it serves our model, and no more when its stream
breaks. Whoever serves another model is refused, with both fingerprints in the log.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Generic, Protocol, TypeVar

from common.errors import DvdError, UnavailableError
from common.types import ReplicaAddress, ReplicaRole
from protos.dvd.v1 import embedding_pb2, replica_pb2
from router.policies import ReplicaLoad, least_work

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

    def __init__(self, address: ReplicaAddress, client: C, on_change: Callable[[], None]) -> None:
        self.address = address
        self.client = client
        self._on_change = on_change
        self.dtype: embedding_pb2.DType = embedding_pb2.D_TYPE_UNSPECIFIED
        self.is_up = False
        self.placed_work = 0
        self.reported_work = 0
        self.last_placed = 0
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
                        self.reported_work = load.outstanding_work
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

    def load(self) -> ReplicaLoad:
        """What the placement policy sees."""
        work = max(self.placed_work, self.reported_work)
        return ReplicaLoad(self.address.name, work, self.last_placed)


class ReplicaPool(Generic[C]):
    """All replicas of one role; used from the event loop alone."""

    def __init__(
        self, role: ReplicaRole, fingerprint: str, connect: Callable[[ReplicaAddress], C]
    ) -> None:
        """Start empty.

        Args:
            role: Which entries of the roster belong here.
            fingerprint: Only replicas that serve this model are used.
            connect: Opens a client.
        """
        self._role = role
        self._fingerprint = fingerprint
        self._connect = connect
        self._replicas: dict[str, PooledReplica[C]] = {}
        self._watches: dict[str, asyncio.Task[None]] = {}
        self._finishing: dict[asyncio.Task[None], C] = {}
        self._refused: set[ReplicaAddress] = set()
        self._placements = 0
        self._changed = asyncio.Event()

    @property
    def num_up(self) -> int:
        """Replicas that take work; any thread may read it."""
        return sum(replica.is_up for replica in tuple(self._replicas.values()))

    async def wait_until_up(self, num_replicas: int) -> None:
        """Wait until so many replicas take work."""
        while self.num_up < num_replicas:
            self._changed.clear()
            await self._changed.wait()

    async def update(self, roster: Sequence[ReplicaAddress]) -> None:
        """Adopt a new roster: keep who stayed, drop who left, watch who is new.

        Who only left may finish what it has begun, because Ray may be wrong about it; who was
        replaced is known to be gone.
        """
        ours = [entry for entry in roster if entry.role is self._role]
        wanted = {entry.name: entry for entry in ours if entry.fingerprint == self._fingerprint}
        self._refuse(entry for entry in ours if entry.name not in wanted)
        for name, replica in list(self._replicas.items()):
            if wanted.get(name) != replica.address:
                await self._drop(name, may_finish=name not in wanted)
        for name, entry in wanted.items():
            if name not in self._replicas:
                replica = PooledReplica(entry, self._connect(entry), self._changed.set)
                self._replicas[name] = replica
                self._watches[name] = asyncio.create_task(replica.watch())

    @contextmanager
    def lease(self, work: int, avoid: str | None = None) -> Iterator[PooledReplica[C]]:
        """Place work on a replica for the length of the context.

        Args:
            work: Its cost, in the role's unit.
            avoid: A replica that has just failed; taken only if it is the only one.

        Raises:
            UnavailableError: No replica takes work.
        """
        up = [replica for replica in self._replicas.values() if replica.is_up]
        others = [replica for replica in up if replica.address.name != avoid]
        if not up:
            raise UnavailableError(f"No {self._role} replica is ready.")
        name = least_work([replica.load() for replica in others or up])
        replica = self._replicas[name]
        self._placements += 1
        replica.last_placed = self._placements
        with replica.leased(work):
            yield replica

    async def close(self) -> None:
        """Drop every replica, and cut who is still finishing."""
        for name in list(self._replicas):
            await self._drop(name, may_finish=False)
        for task, client in list(self._finishing.items()):
            task.cancel()
            await client.close()

    def _refuse(self, strangers: Iterable[ReplicaAddress]) -> None:
        refused = set(strangers)
        for entry in refused - self._refused:
            log_mismatch(entry.name, entry.fingerprint, self._fingerprint)
        self._refused = refused

    async def _drop(self, name: str, may_finish: bool) -> None:
        self._watches.pop(name).cancel()
        replica = self._replicas.pop(name)
        if not (may_finish and replica.is_leased):
            await replica.client.close()
            return
        task = asyncio.create_task(replica.close_when_released())
        self._finishing[task] = replica.client
        task.add_done_callback(self._finishing.pop)


def log_mismatch(name: str, theirs: str, ours: str) -> None:
    """Tell the operator why a replica gets no work."""
    log.error("refused %s: model fingerprint differs: it serves %s, ours is %s", name, theirs, ours)
