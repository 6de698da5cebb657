"""Which replicas a configuration asks for: pure, so that it can be read and tested."""

import itertools
from pathlib import Path

from common.replica_server import ReplicaSpec
from common.types import ReplicaRole
from deploy.allocator import ALLOCATOR
from deploy.config import DeployConfig, PlacementConfig
from deploy.placement import ReplicaPlan
from language_service.actor import LanguageActor, RankPlacement
from vision_service.actor import VisionActor

LOOPBACK = "127.0.0.1"
# NCCL would meet on any interface; the ranks of a replica are on one node.
RANKS_STAY_ON_THE_NODE = {"NCCL_SOCKET_IFNAME": "lo"}


def plan_replicas(
    config: DeployConfig,
    model_dir: Path,
    fingerprint: str,
    device: str,
    taken: frozenset[str] = frozenset(),
    found: frozenset[str] = frozenset(),
) -> list[ReplicaPlan]:
    """List every replica to start, or to take over.

    Args:
        config: The deployment.
        model_dir: Resolved model directory.
        fingerprint: Of that model.
        device: `cpu` or `cuda`, settled.
        taken: Names that are in use.
        found: Names of replicas that run already; they come first, whatever their number is.
    """
    vision, language = config.vision, config.language
    # A cluster that is this machine alone is reached from this machine alone.
    host = LOOPBACK if config.ray.address is None else None

    ranks = RankPlacement(
        language.placement.tensor_parallel_size,
        language.placement.num_cpus,
        _num_gpus(language.placement, device),
    )

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
        for name in _names(ReplicaRole.VISION, vision.placement, taken, found)
    ] + [
        ReplicaPlan(
            name=name,
            role=ReplicaRole.LANGUAGE,
            actor_class=LanguageActor,
            arguments=(
                spec(name),
                language.service,
                ranks,
            ),
            placement=language.placement,
            num_gpus=ranks.num_gpus,
            num_ranks=ranks.num_ranks,
            fingerprint=fingerprint,
            env_vars=_process_environment(language.service.num_threads) | RANKS_STAY_ON_THE_NODE,
        )
        for name in _names(ReplicaRole.LANGUAGE, language.placement, taken, found)
    ]


def _names(
    role: ReplicaRole, placement: PlacementConfig, taken: frozenset[str], found: frozenset[str]
) -> list[str]:
    ours = [name for name in found if name.startswith(f"{role}-")]
    numbered = (f"{role}-{index}" for index in itertools.count())
    free = (name for name in numbered if name not in taken | found)
    return list(
        itertools.islice(itertools.chain(sorted(ours, key=_number), free), placement.replicas)
    )


def _number(name: str) -> int:
    return int(name.rpartition("-")[2])


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
