"""One replica as this router knows it: is it who it should be, is it well, how busy is it.

Confirmed by `GetServerInfo`, then followed by its load stream and by probes, for as long as it is
on the roster. What that means for its health is decided in `router/replica_health.py`.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Generic, Protocol, TypeVar

from common.config import HealthConfig
from common.errors import DvdError, UnavailableError, UnreachableError
from common.types import ReplicaAddress
from protos.dvd.v1 import embedding_pb2, replica_pb2
from router.fleet_member import LoadSnapshot
from router.replica_health import HealthState, ProbeResult, ReplicaHealth

log = logging.getLogger(__name__)

INFO_TIMEOUT_SECONDS = 5.0
RECONNECT_SECONDS = 0.2


class ReplicaClient(Protocol):
    """What the pool needs of a client."""

    async def server_info(self, timeout_seconds: float) -> replica_pb2.ServerInfo:
        """Ask which model is served."""

    def watch_load(self) -> AsyncIterator[replica_pb2.LoadReport]:
        """Follow the replica's load until it goes away."""

    async def is_serving(self, timeout_seconds: float) -> bool:
        """Ask whether the replica can do its work."""

    async def close(self) -> None:
        """Close the channel."""


C = TypeVar("C", bound=ReplicaClient)


class PooledReplica(Generic[C]):
    """One replica: its client, its health, and what is known of its load.

    Attributes:
        address: Its entry in the roster.
        client: Open to it.
        dtype: Element type that it computes in, once it has said so.
        placed_work: What it has been given and is not done, in the role's unit.
        num_placed: Pieces of work that it has been given so far.
    """

    def __init__(
        self,
        address: ReplicaAddress,
        connect: Callable[[ReplicaAddress], C],
        on_change: Callable[[], None],
        health: HealthConfig,
        on_load: Callable[[LoadSnapshot], None] = lambda _: None,
    ) -> None:
        """Open a client; nothing is asked before `watch`.

        Args:
            address: Its entry in the roster.
            connect: Opens a client.
            on_change: Told when it begins or ceases to take work.
            health: When it takes work.
            on_load: Told of every report.
        """
        self.address = address
        self.client = connect(address)
        self.dtype: embedding_pb2.DType = embedding_pb2.D_TYPE_UNSPECIFIED
        self.placed_work = 0
        self.num_placed = 0
        self._connect = connect
        self._on_change = on_change
        self._on_load = on_load
        self._config = health
        self._health = ReplicaHealth(health)
        self._was_up = False
        self._wake = asyncio.Event()
        self._is_refused = False
        self._num_leases = 0
        self._released = asyncio.Event()
        self._released.set()

    @property
    def is_up(self) -> bool:
        """Whether it takes work."""
        return self._health.takes_work and not self.address.is_draining

    @property
    def state(self) -> HealthState:
        """What is thought of it."""
        return self._health.state

    def update(self, address: ReplicaAddress) -> None:
        """Adopt what the roster says of the same process now."""
        self.address = address
        self._tell()

    @contextmanager
    def leased(self, work: int) -> Iterator[None]:
        """Count work for the length of the context."""
        self.placed_work += work
        self.num_placed += 1
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

    @contextmanager
    def judged(self) -> Iterator[None]:
        """Judge the replica by how the calls to it within the context end."""
        try:
            yield
        except DvdError as error:
            if is_own_failure(error):
                self._note_request(is_failed=True)
            raise
        self._note_request(is_failed=False)

    async def watch(self) -> None:
        """Follow the replica until cancelled; reconnect when the stream breaks."""
        while True:
            try:
                info = await self.client.server_info(INFO_TIMEOUT_SECONDS)
                if self._is_confirmed(info.replica):
                    self.dtype = info.dtype
                    await self._follow()
            except DvdError as error:
                if self._was_up:
                    log.warning("lost %s: %s", self.address.name, error.message)
            self._health.note_broken()
            self._tell()
            await asyncio.sleep(RECONNECT_SECONDS)

    async def _follow(self) -> None:
        """Take reports and probe until the stream ends or nothing is heard any more."""
        reports = asyncio.create_task(self._take_reports())
        reports.add_done_callback(lambda _: self._wake.set())
        try:
            while not reports.done():
                await self._probe_if_due(reports)
                await self._until_probe()
        finally:
            reports.cancel()
            await asyncio.wait({reports})
        reports.result()

    async def _take_reports(self) -> None:
        async for load in self.client.watch_load():
            self._on_load(_snapshot(load))
            self._health.note_report(load.outstanding_work, _now())
            self._wake.set()

    async def _until_probe(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(self._health.seconds_to_probe(_now())):
                await self._wake.wait()
        self._wake.clear()

    async def _probe_if_due(self, reports: asyncio.Task[None]) -> None:
        began_at = _now()
        if not self._health.begins_probe(began_at):
            return
        self._tell()
        probe = asyncio.create_task(self._probe())
        await asyncio.wait({probe, reports}, return_when=asyncio.FIRST_COMPLETED)
        if not probe.done():
            probe.cancel()
            return
        was_up = self._was_up
        self._health.note_probe(probe.result(), began_at, _now())
        self._tell()
        if self._health.is_cut_off:
            await self._cut()
        if was_up and not self._health.takes_work:
            log.warning("ejected %s: it %s its probe", self.address.name, probe.result())

    async def _probe(self) -> ProbeResult:
        try:
            is_serving = await self.client.is_serving(self._config.probe_timeout_seconds)
        except DvdError:
            return ProbeResult.UNANSWERED
        return ProbeResult.PASSED if is_serving else ProbeResult.FAILED

    async def _cut(self) -> None:
        """End what is under way on a link of which nothing is heard, so that it goes elsewhere."""
        silent, self.client = self.client, self._connect(self.address)
        await silent.close()
        raise UnreachableError("It has gone silent.")

    def _note_request(self, is_failed: bool) -> None:
        self._health.note_request(is_failed, _now())
        self._tell()
        self._wake.set()

    def _is_confirmed(self, replica: replica_pb2.Replica) -> bool:
        if replica.incarnation != self.address.incarnation:
            return False
        if replica.fingerprint != self.address.fingerprint and not self._is_refused:
            self._is_refused = True
            log_mismatch(self.address.name, replica.fingerprint, self.address.fingerprint)
        return replica.fingerprint == self.address.fingerprint

    def _tell(self) -> None:
        if self.is_up != self._was_up:
            self._was_up = self.is_up
            self._on_change()


def _snapshot(load: replica_pb2.LoadReport) -> LoadSnapshot:
    return LoadSnapshot(
        outstanding_work=load.outstanding_work,
        completed_work=load.completed_work,
        busy_seconds=load.busy_seconds,
        waiting_requests=load.waiting_requests,
    )


def is_own_failure(error: DvdError) -> bool:
    """Whether an error is the fault of the replica that answered with it."""
    return isinstance(error, UnavailableError) or type(error) is DvdError


def _now() -> float:
    return asyncio.get_running_loop().time()


def log_mismatch(name: str, theirs: str, ours: str) -> None:
    """Tell the operator why a replica gets no work."""
    log.error("refused %s: model fingerprint differs: it serves %s, ours is %s", name, theirs, ours)
