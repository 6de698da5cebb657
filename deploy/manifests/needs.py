"""What one replica of each role takes of one node, as a configuration asks for it."""

from dataclasses import dataclass

from common.types import ReplicaRole
from deploy.config import DeployConfig, PlacementConfig


@dataclass(frozen=True, slots=True)
class Needs:
    """Of one role.

    Attributes:
        role: Which.
        replicas: How many.
        labels: That their nodes must have.
        num_cpus: Of each replica, all ranks together.
        num_gpus: Likewise.
    """

    role: ReplicaRole
    replicas: int
    labels: dict[str, str]
    num_cpus: float
    num_gpus: float

    def is_met_by(self, labels: dict[str, str]) -> bool:
        """Whether a node with these labels will do."""
        return all(labels.get(name) == value for name, value in self.labels.items())

    def room(self, cpus: float, gpus: float) -> int:
        """Replicas that a node has room for."""
        rooms = [int(cpus // self.num_cpus)]
        if self.num_gpus:
            rooms.append(int(gpus // self.num_gpus))
        return min(rooms)


def needs_of(config: DeployConfig) -> tuple[Needs, Needs]:
    """What vision and language ask for."""
    ranks = config.language.placement.tensor_parallel_size
    return (
        _needs(ReplicaRole.VISION, config, config.vision.placement, 1),
        _needs(ReplicaRole.LANGUAGE, config, config.language.placement, ranks),
    )


def _needs(
    role: ReplicaRole, config: DeployConfig, placement: PlacementConfig, ranks: int
) -> Needs:
    usual = 1.0 if config.device == "cuda" else 0.0
    gpus = usual if placement.num_gpus is None else placement.num_gpus
    return Needs(
        role=role,
        replicas=placement.replicas,
        labels=placement.labels,
        num_cpus=placement.num_cpus * ranks,
        num_gpus=gpus * ranks,
    )
