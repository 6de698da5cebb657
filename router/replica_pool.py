"""The replicas of one role as this router knows them: roster in, placements out.

The roster says who exists; a load stream to each says who is alive and how busy. A replica takes
work once it has confirmed who it is and that it serves our model, and no more when its stream
breaks. Whoever serves another model is refused, with both fingerprints in the log.
"""

import asyncio
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Generic

from common.config import HealthConfig
from common.errors import UnavailableError
from common.types import ReplicaAddress, ReplicaRole
from router.policies import least_work
from router.pooled_replica import C, PooledReplica, log_mismatch


class ReplicaPool(Generic[C]):
    """All replicas of one role; used from the event loop alone."""

    def __init__(
        self,
        role: ReplicaRole,
        fingerprint: str,
        connect: Callable[[ReplicaAddress], C],
        health: HealthConfig | None = None,
    ) -> None:
        """Start empty.

        Args:
            role: Which entries of the roster belong here.
            fingerprint: Only replicas that serve this model are used.
            connect: Opens a client.
            health: When replicas are taken out of use; None for the usual.
        """
        self._role = role
        self._fingerprint = fingerprint
        self._connect = connect
        self._health = health or HealthConfig()
        self._replicas: dict[str, PooledReplica[C]] = {}
        self._watches: dict[str, asyncio.Task[None]] = {}
        self._finishing: dict[asyncio.Task[None], C] = {}
        self._refused: set[ReplicaAddress] = set()
        self._placements = 0
        self._changed = asyncio.Event()

    @property
    def replicas(self) -> tuple[PooledReplica[C], ...]:
        """All of them; any thread may read it."""
        return tuple(self._replicas.values())

    @property
    def num_up(self) -> int:
        """Replicas that take work; any thread may read it."""
        return sum(replica.is_up for replica in self.replicas)

    async def wait_until_up(self, num_replicas: int) -> None:
        """Wait until so many replicas take work."""
        while self.num_up < num_replicas:
            self._changed.clear()
            await self._changed.wait()

    def has_other(self, avoid: Collection[ReplicaAddress]) -> bool:
        """Whether a replica takes work that is not one of these."""
        return any(each.is_up and each.address not in avoid for each in self._replicas.values())

    async def wait_for_other(
        self, avoid: Collection[ReplicaAddress], timeout_seconds: float
    ) -> None:
        """Wait until a replica takes work that is not one of these, but not longer than so."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_seconds):
                while not self.has_other(avoid):
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
            entry = wanted.get(name)
            if entry is not None and entry.is_process_of(replica.address):
                replica.update(entry)
            else:
                await self._drop(name, may_finish=entry is None)
        for name, entry in wanted.items():
            if name not in self._replicas:
                replica = PooledReplica(entry, self._connect, self._changed.set, self._health)
                self._replicas[name] = replica
                self._watches[name] = asyncio.create_task(replica.watch())

    @contextmanager
    def lease(
        self, work: int, avoid: Collection[ReplicaAddress] = ()
    ) -> Iterator[PooledReplica[C]]:
        """Place work on a replica for the length of the context.

        Args:
            work: Its cost, in the role's unit.
            avoid: Replicas that have failed this work; taken only if there are no others.

        Raises:
            UnavailableError: No replica takes work.
        """
        up = [replica for replica in self._replicas.values() if replica.is_up]
        others = [replica for replica in up if replica.address not in avoid]
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
