"""Reach Ray: an existing cluster, or one on this machine that ends with us.

Ray places, starts and restarts replicas; requests never pass through it.
"""

import logging
import os

import ray

from deploy.config import DeployConfig

log = logging.getLogger(__name__)

NAMESPACE = "dvd"
# Ray's smallest; nothing of ours goes through the object store.
OBJECT_STORE_BYTES = 80 << 20


def connect(config: DeployConfig) -> None:
    """Join the configured cluster, or start one with room for every replica."""
    if config.ray.address is not None:
        ray.init(address=config.ray.address, namespace=NAMESPACE, configure_logging=False)
        return
    log.info("starting Ray on this machine")
    ray.init(
        address="local",
        namespace=NAMESPACE,
        num_cpus=_logical_cpus(config),
        object_store_memory=OBJECT_STORE_BYTES,
        include_dashboard=False,
        configure_logging=False,
        _node_ip_address="127.0.0.1",
    )


def disconnect() -> None:
    """Leave Ray; a cluster that we started ends."""
    ray.shutdown()


def _logical_cpus(config: DeployConfig) -> int:
    """CPUs for the scheduler's books: enough for every replica, however few cores there are.

    And for one more of each role, so that a new model can start beside the old one.
    """
    vision, language = config.vision.placement, config.language.placement
    wanted = (vision.replicas + 1) * vision.num_cpus
    wanted += (language.replicas + 1) * language.num_cpus * language.tensor_parallel_size
    return max(os.cpu_count() or 1, int(wanted) + 1)
