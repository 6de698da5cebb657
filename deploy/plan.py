"""Which replicas a configuration asks for: pure, so that it can be read and tested."""

import itertools
from pathlib import Path

from common.replica_server import ReplicaSpec
from common.types import ReplicaRole
from deploy.allocator import ALLOCATOR
from deploy.config import DeployConfig, PlacementConfig
from deploy.placement import ReplicaPlan
from language_service.actor import LanguageActor
from vision_service.actor import VisionActor

LOOPBACK = "127.0.0.1"


def plan_replicas(
    config: DeployConfig,
    model_dir: Path,
    fingerprint: str,
    device: str,
    taken: frozenset[str] = frozenset(),
) -> list[ReplicaPlan]:
    """List every replica to start.

    Args:
        config: The deployment.
        model_dir: Resolved model directory.
        fingerprint: Of that model.
        device: `cpu` or `cuda`, settled.
        taken: Names that are in use.
    """
    vision, language = config.vision, config.language
    # A cluster that is this machine alone is reached from this machine alone.
    host = LOOPBACK if config.ray.address is None else None

    def spec(name: str) -> ReplicaSpec:
        drain, model = config.drain_seconds, config.model_name
        return ReplicaSpec(name, model_dir, device, host, drain, model, config.log)

    return [
        ReplicaPlan(
            name=name,
            role=ReplicaRole.VISION,
            actor_class=VisionActor,
            arguments=(
                spec(name),
                vision.service,
                config.router.images,
            ),
            placement=vision.placement,
            num_gpus=_num_gpus(vision.placement, device),
            fingerprint=fingerprint,
            env_vars=_process_environment(vision.service.num_threads),
        )
        for name in _names(ReplicaRole.VISION, vision.placement, taken)
    ] + [
        ReplicaPlan(
            name=name,
            role=ReplicaRole.LANGUAGE,
            actor_class=LanguageActor,
            arguments=(
                spec(name),
                language.service,
            ),
            placement=language.placement,
            num_gpus=_num_gpus(language.placement, device),
            fingerprint=fingerprint,
            env_vars=_process_environment(language.service.num_threads),
        )
        for name in _names(ReplicaRole.LANGUAGE, language.placement, taken)
    ]


def _names(role: ReplicaRole, placement: PlacementConfig, taken: frozenset[str]) -> list[str]:
    numbered = (f"{role}-{index}" for index in itertools.count())
    return list(itertools.islice((n for n in numbered if n not in taken), placement.replicas))


def _num_gpus(placement: PlacementConfig, device: str) -> float:
    if placement.num_gpus is not None:
        return placement.num_gpus
    return 1.0 if device == "cuda" else 0.0


def _process_environment(num_threads: int) -> dict[str, str]:
    # Set before the process starts: the allocator reads it then, and OpenMP sizes its thread pools
    # on import. gRPC's core would tell of every connection that ends.
    threads = {
        "OMP_NUM_THREADS": str(num_threads),
        "TOKENIZERS_PARALLELISM": "false",
        "GRPC_VERBOSITY": "ERROR",
    }
    return threads | ALLOCATOR
