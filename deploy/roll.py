"""Exchange the model of a running deployment; old and new never meet in one request.

    new replicas -> new routers at the same ports -> old routers drain -> old replicas drain

A router pairs replicas of one fingerprint alone, so that a request is answered by one model from
its first picture to its last token, and one that began with the old model ends with it. Where
there is no room for all new replicas beside the old ones, the rest follows when those are gone.
"""

import asyncio
import logging

from common.errors import MismatchError, StartupError, UnavailableError, WrongStateError
from common.types import ReplicaRole
from deploy.deployment import DeployedModel, Deployment, plans_of
from deploy.placement import PLACEMENT_TIMEOUT_SECONDS, ReplicaPlan
from deploy.replica_keeper import ReplicaKeeper
from deploy.router_keeper import RouterKeeper, at_same_ports

# To find out that there is no room beside the old replicas.
SPARE_ROOM_SECONDS = 3.0

log = logging.getLogger(__name__)


class Roll:
    """One roll of one deployment.

    Args:
        deployment: What runs.
        model: What is to run.
        supervisor: `host:port` of the roster service.
    """

    def __init__(self, deployment: Deployment, model: DeployedModel, supervisor: str) -> None:
        self._deployment = deployment
        self._model = model
        self._supervisor = supervisor
        self._new: list[ReplicaKeeper] = []
        self._failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def run(self) -> None:
        """Roll; on an error the old model goes on as it was.

        Raises:
            WrongStateError: That model is served already.
            UnavailableError: There is no room for one new replica of each role beside the old.
            StartupError: The new model does not start; the message says why.
        """
        deployment = self._deployment
        if self._model.fingerprint == deployment.model.fingerprint:
            raise WrongStateError("That model is served already.")
        taken = frozenset(keeper.plan.name for keeper in deployment.replicas)
        try:
            left = await self._place(plans_of(self._model, taken))
            await deployment.wait_until_ready(self._new, self._failure)
            routers = await self._start_routers()
        except (MismatchError, StartupError, UnavailableError):
            await self._remove(self._new)
            raise
        log.info("rolling to %s", self._model.fingerprint)
        old_replicas, deployment.replicas = deployment.replicas, self._new
        old_routers, deployment.routers = deployment.routers, routers
        deployment.model = self._model
        for keeper in self._new:
            keeper.on_failure = deployment.on_failure
        await asyncio.gather(*(router.stop() for router in old_routers))
        await self._remove(old_replicas)
        for plan in left:
            await self._place_one(plan)
        await deployment.wait_until_ready(self._new, self._failure)
        log.info("rolled to %s", self._model.fingerprint)

    async def _place(self, plans: list[ReplicaPlan]) -> list[ReplicaPlan]:
        """Place what there is room for, at least one of each role; the rest."""
        for index, plan in enumerate(plans):
            is_needed = index < len(ReplicaRole)
            try:
                await self._place_one(
                    plan, PLACEMENT_TIMEOUT_SECONDS if is_needed else SPARE_ROOM_SECONDS
                )
            except UnavailableError:
                if is_needed:
                    raise
                return plans[index:]
        return []

    async def _place_one(
        self, plan: ReplicaPlan, patience_seconds: float = PLACEMENT_TIMEOUT_SECONDS
    ) -> None:
        keeper = self._deployment.keeper(plan)
        if self._deployment.replicas is not self._new:
            keeper.on_failure = self._fail
        await keeper.place(patience_seconds)
        self._new.append(keeper)

    async def _start_routers(self) -> list[RouterKeeper]:
        deployment = self._deployment
        timeout = deployment.config.start_timeout_seconds
        settings = deployment.router_settings(self._model, self._supervisor)
        routers = []
        for own, old in zip(settings, deployment.routers, strict=True):
            same = at_same_ports(own, old.ready).model_copy(update={"takes_over": True})
            # Metrics of the old one are still read at their port.
            config = same.config.model_copy(update={"metrics_port": 0})
            router = RouterKeeper(
                same.model_copy(update={"config": config}), timeout, deployment.on_failure
            )
            routers.append(router)
        try:
            await asyncio.gather(*(router.start() for router in routers))
        except StartupError:
            await asyncio.gather(*(router.stop() for router in routers))
            raise
        return routers

    async def _remove(self, keepers: list[ReplicaKeeper]) -> None:
        seconds = self._deployment.config.drain_seconds
        draining = [keeper.drain(seconds) for keeper in keepers if keeper.placed is not None]
        await asyncio.gather(*draining)

    def _fail(self, message: str) -> None:
        log.error("%s", message)
        if not self._failure.done():
            self._failure.set_exception(StartupError(message))
