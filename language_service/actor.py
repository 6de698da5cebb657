"""The Ray actors of a language replica: one device, one engine, one server; and one for each rank.

Ray places, starts and restarts the replica; requests never pass through Ray. The other ranks of a
tensor-parallel replica are actors that its own actor has made, in further bundles of its placement
group. Ray ends what a process has made when that process ends, and the process ends when one of
them does: the group lives, dies and is started again as the one actor that the supervisor knows.
"""

import logging
import os
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import ray
import torch
from ray.exceptions import RayError, RayTaskError
from ray.util.placement_group import get_current_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from common.config import LanguageServiceConfig
from common.errors import RankLostError, StartupError
from common.hosted_replica import HostedReplica
from common.log import set_up_logging
from common.replica_server import ReplicaSpec
from common.types import ReplicaAddress
from language_service.following_rank import FollowingRank
from language_service.rank_group import GroupSettings, RankGroup, RankStore
from language_service.replica import LanguageReplica
from language_service.sharding import Rank
from language_service.step_wire import encode_end

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RankPlacement:
    """How the ranks of a replica are placed, the first one included.

    Attributes:
        num_ranks: How many.
        num_cpus: Logical CPUs of each.
        num_gpus: GPUs of each.
    """

    num_ranks: int
    num_cpus: float
    num_gpus: float


class LanguageActor:
    """Wraps a `LanguageReplica`; empty again after every restart by Ray."""

    def __init__(
        self, spec: ReplicaSpec, config: LanguageServiceConfig, ranks: RankPlacement
    ) -> None:
        set_up_logging(spec.name, spec.log.level, spec.log.json_lines)
        crew = ActorCrew(spec, config, ranks, _end_process) if ranks.num_ranks > 1 else None

        def build() -> LanguageReplica:
            return LanguageReplica(spec, config, on_crash=_end_process, crew=crew)

        try:
            self._hosted = HostedReplica(spec, build)
        except RankLostError:
            # As after any other loss: Ray starts the whole group again, and counts how often.
            log.exception("%s has lost a rank while it started", spec.name)
            _end_process()

    async def serve(self) -> ReplicaAddress:
        """See `HostedReplica`."""
        return await self._hosted.serve(ray.util.get_node_ip_address)

    async def stop(self, grace_seconds: float) -> None:
        """See `HostedReplica`."""
        await self._hosted.stop(grace_seconds)

    def __ray_shutdown__(self) -> None:
        """Drain before the process ends; Ray calls it on SIGTERM, from the main thread."""
        self._hosted.drain()


class RankActor:
    """Wraps a `FollowingRank`; ends with the actor that has made it."""

    def __init__(self, spec: ReplicaSpec, config: LanguageServiceConfig, rank: Rank) -> None:
        name = f"{spec.name} rank {rank.index}"
        set_up_logging(name, spec.log.level, spec.log.json_lines)
        self._rank: FollowingRank | None = None
        self._failure: StartupError | None = None
        try:
            self._rank = FollowingRank(spec, config, rank)
        except StartupError as error:
            self._failure = error

    def load(self) -> None:
        """Return once this rank has loaded its part.

        Raises:
            StartupError: It could not.
        """
        if self._rank is None:
            raise self._failure or StartupError()

    def follow(self, port: int) -> None:
        """Run what the first rank tells, until it tells the end.

        Raises:
            RankLostError: Another rank is gone, or does not come in time.
        """
        if self._rank is not None:
            self._rank.follow(port)


class ActorCrew:
    """The other ranks of a replica, as actors of Ray; a `RankCrew`.

    Args:
        spec: Of the replica.
        config: Of the replica.
        ranks: How they are placed.
        on_loss: Called from any thread when one of them ends before it is let go.
    """

    def __init__(
        self,
        spec: ReplicaSpec,
        config: LanguageServiceConfig,
        ranks: RankPlacement,
        on_loss: Callable[[], None],
    ) -> None:
        self._size = ranks.num_ranks
        self._timeout_seconds = config.rank_timeout_seconds
        self._on_loss = on_loss
        self._group: RankGroup | None = None
        self._is_dismissed = False
        self._actors = [
            _start_rank(ranks, (spec, config, Rank(index, self._size)), index)
            for index in range(1, self._size)
        ]

    @property
    def first_rank(self) -> Rank:
        """The part that the first rank holds."""
        return Rank(0, self._size)

    def gather(self, device: torch.device) -> RankGroup:
        """See `RankCrew`."""
        loaded: list[Future[None]] = [actor.load.remote().future() for actor in self._actors]
        for each in loaded:
            _await_loaded(each)
        store = RankStore(self._timeout_seconds)
        for actor in self._actors:
            following: Future[None] = actor.follow.remote(store.port).future()
            following.add_done_callback(self._note_end)
        self._group = store.form(self._size, GroupSettings(device, self._timeout_seconds))
        return self._group

    def dismiss(self) -> None:
        """See `RankCrew`."""
        self._is_dismissed = True
        if self._group is not None:
            with suppress(RankLostError):
                self._group.tell(encode_end())

    def _note_end(self, following: "Future[None]") -> None:
        if not self._is_dismissed:
            log.error("A rank has ended: %s", following.exception())
            self._on_loss()


def _start_rank(ranks: RankPlacement, arguments: tuple[Any, ...], bundle: int) -> Any:
    own = get_current_placement_group()
    if own is None:
        raise AssertionError("a replica is placed in a group of its own")
    options: Any = ray.remote(RankActor).options(
        num_cpus=ranks.num_cpus,
        num_gpus=ranks.num_gpus,
        max_restarts=0,
        scheduling_strategy=PlacementGroupSchedulingStrategy(
            own, placement_group_bundle_index=bundle
        ),
    )
    return options.remote(*arguments)


def _await_loaded(loaded: "Future[None]") -> None:
    try:
        loaded.result()
    except RayTaskError as error:
        cause = error.cause
        raise cause if isinstance(cause, StartupError) else StartupError() from error
    except RayError as error:
        raise RankLostError("A rank has ended while it loaded.") from error


def _end_process() -> None:
    os._exit(1)
