"""Keeps one replica of the deployment: places it, keeps its entry in the roster true, drains it."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from enum import StrEnum

from ray.exceptions import ActorUnavailableError, RayActorError, RayTaskError

from common.errors import DvdError, MismatchError, WrongStateError
from common.types import ReplicaAddress
from deploy.metrics import SupervisorMetrics
from deploy.placement import PLACEMENT_TIMEOUT_SECONDS, PlacedReplica, ReplicaPlan
from deploy.roster import Roster

log = logging.getLogger(__name__)

POLL_SECONDS = 1.0
STOP_SECONDS = 5.0


class KeptState(StrEnum):
    """What is being done with a replica."""

    SERVING = "serving"
    DRAINING = "draining"
    DRAINED = "drained"


class ReplicaKeeper:
    """One replica.

    Attributes:
        plan: What it is.
        state: What is being done with it.
        placed: Its actor; None when it is drained.
        on_failure: Told when Ray does not restart it any more.
    """

    def __init__(
        self,
        plan: ReplicaPlan,
        roster: Roster,
        metrics: SupervisorMetrics,
        is_detached: bool,
        on_failure: Callable[[str], None],
    ) -> None:
        """Prepare without placing.

        Args:
            plan: What to place.
            roster: Told where it is.
            metrics: Told when it comes back.
            is_detached: Whether it outlives the supervisor.
            on_failure: Told when Ray does not restart it any more.
        """
        self.plan = plan
        self.state = KeptState.SERVING
        self.placed: PlacedReplica | None = None
        self._roster = roster
        self._metrics = metrics
        self._is_detached = is_detached
        self.on_failure = on_failure
        self._watch: asyncio.Task[None] | None = None

    @property
    def num_ranks(self) -> int:
        """Processes that it is made of; one that was found may be made of others than planned."""
        return self.placed.num_ranks if self.placed else self.plan.num_ranks

    async def place(self, patience_seconds: float = PLACEMENT_TIMEOUT_SECONDS) -> None:
        """Find it or start it, and follow it from now on.

        Args:
            patience_seconds: How long to wait for room.

        Raises:
            UnavailableError: The cluster has no room for it.
        """
        self.placed = await asyncio.to_thread(
            PlacedReplica, self.plan, self._is_detached, patience_seconds
        )
        if self.placed.is_adopted:
            log.info("found %s running", self.plan.name)
        self.state = KeptState.SERVING
        self._watch = asyncio.create_task(self._follow(self.placed))

    async def wait_until_ready(self) -> None:
        """Wait until it is on the roster."""
        await self._roster.wait_for(lambda: self._roster.find(self.plan.name) is not None)

    async def drain(self, grace_seconds: float) -> None:
        """No new work, what has begun ends, its process stops, its resources are given back.

        Raises:
            WrongStateError: It is draining or drained already.
        """
        if self.state is not KeptState.SERVING or self.placed is None:
            raise WrongStateError(f"{self.plan.name} is {self.state}.")
        self.state = KeptState.DRAINING
        self._unfollow()
        await self._roster.set_draining(self.plan.name)
        await self.stop(grace_seconds)
        await self._roster.remove(self.plan.name)
        placed, self.placed = self.placed, None
        await asyncio.to_thread(placed.kill)
        self.state = KeptState.DRAINED
        log.info("%s is drained", self.plan.name)

    async def stop(self, grace_seconds: float) -> None:
        """Let what has begun end, then stop serving; the actor stays."""
        self._unfollow()
        if self.placed is None:
            return
        with suppress(RayActorError, RayTaskError, TimeoutError):
            async with asyncio.timeout(grace_seconds + STOP_SECONDS):
                await self.placed.actor.stop.remote(grace_seconds)

    def leave(self) -> None:
        """Follow it no more; it goes on by itself."""
        self._unfollow()

    def _unfollow(self) -> None:
        if self._watch is not None:
            self._watch.cancel()

    async def _follow(self, placed: PlacedReplica) -> None:
        """Keep its entry in the roster true, for as long as Ray keeps it alive."""
        name, incarnation = self.plan.name, None
        while True:
            try:
                address: ReplicaAddress = await placed.actor.serve.remote()
                if incarnation not in (None, address.incarnation):
                    self._metrics.restarts.labels(self.plan.role).inc()
                incarnation = address.incarnation
                self._check(address)
                await self._roster.put(address)
            except ActorUnavailableError:
                log.warning("%s is restarting", name)
                await self._roster.remove(name)
            except RayActorError:
                await self._roster.remove(name)
                return self.on_failure(f"{name} died more often than it may be restarted.")
            except RayTaskError as error:
                cause = error.cause
                known = isinstance(cause, DvdError)
                return self.on_failure(f"{name}: {cause.message if known else 'internal error'}")
            except MismatchError as error:
                return self.on_failure(error.message)
            await asyncio.sleep(POLL_SECONDS)

    def _check(self, address: ReplicaAddress) -> None:
        if address.fingerprint != self.plan.fingerprint:
            raise MismatchError(
                f"{address.name} runs on this cluster with another model: its fingerprint is "
                f"{address.fingerprint}, ours is {self.plan.fingerprint}. Serve that model and "
                "roll to this one, or remove it with dvd down."
            )
