"""Place one replica: a placement group, and in it a named actor.

One group per replica keeps a replica's bundles together and lets Ray restart the actor in place.
The named actor has the first bundle; where a replica has several ranks, it starts the others in
those that follow, on the same node.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import ray
from ray.util import list_named_actors
from ray.util.placement_group import (
    PlacementGroup,
    get_placement_group,
    placement_group,
    remove_placement_group,
)
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from common.errors import UnavailableError
from common.types import ReplicaRole
from deploy.config import PlacementConfig

PLACEMENT_TIMEOUT_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class ReplicaPlan:
    """One replica to start.

    Attributes:
        name: Stable name, such as `vision-0`.
        role: What it does.
        actor_class: Plain class that the actor runs.
        arguments: Of its constructor.
        placement: What it asks of Ray.
        num_gpus: GPUs, settled.
        fingerprint: Of the model that it is to serve.
        env_vars: Environment of its process.
        num_ranks: Processes that it is made of, each with these CPUs and GPUs.
    """

    name: str
    role: ReplicaRole
    actor_class: type
    arguments: tuple[Any, ...]
    placement: PlacementConfig
    num_gpus: float
    fingerprint: str
    env_vars: Mapping[str, str]
    num_ranks: int = 1

    @property
    def actor_name(self) -> str:
        """Its name in Ray."""
        return f"{self.role}/{self.name}"

    @property
    def bundle(self) -> dict[str, float]:
        """Resources to reserve, by Ray's names."""
        gpus = {"GPU": self.num_gpus} if self.num_gpus else {}
        return {"CPU": self.placement.num_cpus} | gpus | self.placement.resources


class PlacedReplica:
    """A replica's actor and its placement group.

    Detached, both outlive the supervisor, which finds them again by name.
    """

    def __init__(
        self,
        plan: ReplicaPlan,
        is_detached: bool = False,
        patience_seconds: float = PLACEMENT_TIMEOUT_SECONDS,
    ) -> None:
        """Find the replica by name, or reserve the resources and start it.

        Args:
            plan: What to start; one that is found goes on as it was started.
            is_detached: Whether it outlives this process.
            patience_seconds: How long to wait for room.

        Raises:
            UnavailableError: The cluster has no room for it.
        """
        self.plan = plan
        self._is_detached = is_detached
        found = find_actor(plan.actor_name) if is_detached else None
        self.is_adopted = found is not None
        self.actor: Any = found or self._start(self._reserve(patience_seconds))
        self.num_ranks = _num_bundles(plan.actor_name) if self.is_adopted else plan.num_ranks

    def kill(self) -> None:
        """End the actor for good and give its resources back."""
        ray.kill(self.actor)
        remove_group(self.plan.actor_name)

    def _reserve(self, patience_seconds: float) -> PlacementGroup:
        plan = self.plan
        remove_group(plan.actor_name)  # of an actor that is gone
        bundle = plan.bundle
        group: PlacementGroup = placement_group(
            [bundle] * plan.num_ranks,
            strategy="STRICT_PACK",
            name=plan.actor_name,
            lifetime=self._lifetime,
            bundle_label_selector=[plan.placement.labels] * plan.num_ranks,
        )
        if not group.wait(patience_seconds):
            remove_placement_group(group)
            where = f" of a node with labels {plan.placement.labels}" * bool(plan.placement.labels)
            times = "" if plan.num_ranks == 1 else f" {plan.num_ranks} times on one node"
            raise UnavailableError(
                f"Ray has no room for {plan.name}: it asks for {bundle}{times}{where}; "
                f"available are {_available(bundle)}."
            )
        return group

    def _start(self, group: PlacementGroup) -> Any:
        plan = self.plan
        options: Any = ray.remote(plan.actor_class).options(
            name=plan.actor_name,
            lifetime=self._lifetime,
            num_cpus=plan.placement.num_cpus,
            num_gpus=plan.num_gpus,
            resources=plan.placement.resources,
            max_restarts=plan.placement.max_restarts,
            max_task_retries=0,
            runtime_env={"env_vars": dict(plan.env_vars)},
            scheduling_strategy=PlacementGroupSchedulingStrategy(
                group, placement_group_bundle_index=0
            ),
        )
        return options.remote(*plan.arguments)

    @property
    def _lifetime(self) -> str | None:
        return "detached" if self._is_detached else None


def find_actor(name: str) -> Any | None:
    """The live actor of that name in our namespace."""
    try:
        return ray.get_actor(name)
    except ValueError:
        return None


def running_replicas() -> frozenset[str]:
    """Names of replicas whose actors live in our namespace, whoever has placed them."""
    roles = set(ReplicaRole)
    named = (name.split("/") for name in list_named_actors())
    return frozenset(parts[1] for parts in named if len(parts) == 2 and parts[0] in roles)


def _num_bundles(name: str) -> int:
    return len(get_placement_group(name).bundle_specs)


def remove_group(name: str) -> None:
    """Remove the placement group of that name, if there is one."""
    with suppress(ValueError):
        remove_placement_group(get_placement_group(name))


def _available(bundle: Mapping[str, float]) -> dict[str, float]:
    resources: dict[str, float] = ray.available_resources()  # type: ignore[no-untyped-call]
    return {name: resources.get(name, 0.0) for name in ("CPU", "GPU", *bundle)}
