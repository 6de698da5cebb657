"""Place one replica: a placement group, and in it a named actor.

One group per replica keeps a replica's bundles together and lets Ray restart the actor in place.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import ray
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from common.errors import UnavailableError
from common.types import ReplicaRole
from deploy.config import PlacementConfig

PLACEMENT_TIMEOUT_SECONDS = 60


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
        env_vars: Environment of its process.
    """

    name: str
    role: ReplicaRole
    actor_class: type
    arguments: tuple[Any, ...]
    placement: PlacementConfig
    num_gpus: float
    env_vars: Mapping[str, str]


class PlacedReplica:
    """A replica's actor and its placement group."""

    def __init__(self, plan: ReplicaPlan) -> None:
        """Reserve the resources and start the actor.

        Raises:
            UnavailableError: The cluster has no room for it.
        """
        self.plan = plan
        bundle = {"CPU": plan.placement.num_cpus}
        if plan.num_gpus:
            bundle["GPU"] = plan.num_gpus
        self._group: PlacementGroup = placement_group(
            [bundle], strategy="STRICT_PACK", name=f"{plan.role}/{plan.name}"
        )
        if not self._group.wait(PLACEMENT_TIMEOUT_SECONDS):
            remove_placement_group(self._group)
            raise UnavailableError(
                f"Ray has no room for {plan.name}: it asks for {bundle}; "
                f"available are {_available()}."
            )
        self.actor = self._start()

    def kill(self) -> None:
        """End the actor for good and give its resources back."""
        ray.kill(self.actor)
        remove_placement_group(self._group)

    def _start(self) -> Any:
        plan = self.plan
        options: Any = ray.remote(plan.actor_class).options(
            name=f"{plan.role}/{plan.name}",
            num_cpus=plan.placement.num_cpus,
            num_gpus=plan.num_gpus,
            max_restarts=plan.placement.max_restarts,
            max_task_retries=0,
            runtime_env={"env_vars": dict(plan.env_vars)},
            scheduling_strategy=PlacementGroupSchedulingStrategy(self._group),
        )
        return options.remote(*plan.arguments)


def _available() -> dict[str, float]:
    resources: dict[str, float] = ray.available_resources()  # type: ignore[no-untyped-call]
    return {name: resources.get(name, 0.0) for name in ("CPU", "GPU")}
