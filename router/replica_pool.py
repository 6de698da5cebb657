"""The replicas of one role as this router knows them: roster in, placements out.

The roster says who exists; a load stream to each says who is alive and how busy. A replica takes
work once it has confirmed who it is and that it serves our model, and no more when its stream
breaks. Whoever serves another model is refused, with both fingerprints in the log. Who of those
that take work gets the next piece is for a policy to say.
"""

import asyncio
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Generic

from common.config import HealthConfig
from common.errors import UnavailableError
from common.types import ReplicaAddress, ReplicaRole
from router.affinity_key import affinity_key
from router.fleet import Fleet
from router.fleet_member import FleetMember, LoadSnapshot
from router.policies import Ask, LeastWork, Policy
from router.pooled_replica import C, PooledReplica, log_mismatch


class ReplicaPool(Generic[C]):
    """All replicas of one role; used from the event loop alone.

    Attributes:
        role: Which.
        num_retries: Failures that another attempt was to make good.
    """

    def __init__(
        self,
        role: ReplicaRole,
        fingerprint: str,
        connect: Callable[[ReplicaAddress], C],
        health: HealthConfig | None = None,
        policy: Policy | None = None,
        seed: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start empty.

        Args:
            role: Which entries of the roster belong here.
            fingerprint: Only replicas that serve this model are used.
            connect: Opens a client.
            health: When replicas are taken out of use; None for the usual.
            policy: Who gets the next piece of work; None for who has least to do.
            seed: Of the order in which idle replicas are first taken, of which each router should
                have its own; None for that of the roster.
            clock: Seconds, monotonic.
        """
        self.role = role
        self.num_retries = 0
        self._fingerprint = fingerprint
        self._connect = connect
        self._health = health or HealthConfig()
        self._replicas: dict[str, PooledReplica[C]] = {}
        self._watches: dict[str, asyncio.Task[None]] = {}
        self._finishing: dict[asyncio.Task[None], C] = {}
        self._refused: set[ReplicaAddress] = set()
        self._policy = policy or LeastWork()
        self._clock = clock
        self._fleet = Fleet(seed)
        self._members: dict[str, FleetMember] = {}
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
        ours = [entry for entry in roster if entry.role is self.role]
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
                self._join(entry)

    @contextmanager
    def lease(
        self, work: int, avoid: Collection[ReplicaAddress] = (), key: bytes = b""
    ) -> Iterator[PooledReplica[C]]:
        """Place work on a replica for the length of the context.

        Args:
            work: Its cost, in the role's unit.
            avoid: Replicas that have failed this work; taken only if there are no others.
            key: Names what a replica may still hold of it; equal keys may go to one replica.

        Raises:
            UnavailableError: No replica takes work.
        """
        if not self._fleet.num_up:
            raise UnavailableError(f"No {self.role} replica is ready.")
        avoided = [self._members[each.name] for each in avoid if self._is_here(each)]
        ask, now = Ask(work, affinity_key(key), tuple(avoided)), self._clock()
        member = self._policy.choose(self._fleet, ask, now)
        replica = self._replicas[member.name]
        placement = self._fleet.place(member, work, now)
        try:
            with replica.leased(work):
                yield replica
        finally:
            self._fleet.finish(member, placement)

    def seconds_to_finish(self, work: int) -> float:
        """How long some replica would need at least for new work behind all that it has.

        Returns:
            0 where one could begin at once, or where that is not known.
        """
        return self._fleet.seconds_to_finish(work, self._clock())

    async def close(self) -> None:
        """Drop every replica, and cut who is still finishing."""
        for name in list(self._replicas):
            await self._drop(name, may_finish=False)
        for task, client in list(self._finishing.items()):
            task.cancel()
            await client.close()

    def _join(self, entry: ReplicaAddress) -> None:
        member = self._fleet.join(entry.name, affinity_key(entry.name.encode()), self._clock())
        replica = PooledReplica(
            entry,
            self._connect,
            partial(self._note_change, entry.name),
            self._health,
            partial(self._note_load, member),
        )
        self._replicas[entry.name], self._members[entry.name] = replica, member
        self._watches[entry.name] = asyncio.create_task(replica.watch())

    def _is_here(self, address: ReplicaAddress) -> bool:
        replica = self._replicas.get(address.name)
        return replica is not None and replica.address == address

    def _note_change(self, name: str) -> None:
        replica = self._replicas.get(name)
        if replica is not None:
            self._fleet.set_up(self._members[name], is_up=replica.is_up)
        self._changed.set()

    def _note_load(self, member: FleetMember, load: LoadSnapshot) -> None:
        self._fleet.report(member, load, self._clock())

    def _refuse(self, strangers: Iterable[ReplicaAddress]) -> None:
        refused = set(strangers)
        for entry in refused - self._refused:
            log_mismatch(entry.name, entry.fingerprint, self._fingerprint)
        self._refused = refused

    async def _drop(self, name: str, may_finish: bool) -> None:
        self._watches.pop(name).cancel()
        replica = self._replicas.pop(name)
        self._fleet.leave(self._members.pop(name))
        if not (may_finish and replica.is_leased):
            await replica.client.close()
            return
        task = asyncio.create_task(replica.close_when_released())
        self._finishing[task] = replica.client
        task.add_done_callback(self._finishing.pop)
