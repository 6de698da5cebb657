"""Removes what a supervisor has left on a Ray cluster, found by name."""

import ray
from ray.util import list_named_actors, placement_group_table

from common.types import ReplicaRole
from deploy.config import RayConfig
from deploy.placement import find_actor, remove_group
from deploy.ray_cluster import NAMESPACE

PREFIXES = tuple(f"{role}/" for role in ReplicaRole)


def remove_all(config: RayConfig) -> list[str]:
    """End every replica in our namespace and give its resources back; their names."""
    ray.init(address=config.address, namespace=NAMESPACE, log_to_driver=False)
    try:
        actors = [name for name in list_named_actors() if name.startswith(PREFIXES)]
        for name in actors:
            actor = find_actor(name)
            if actor is not None:
                ray.kill(actor)
        groups = {str(row["name"]) for row in placement_group_table().values()}
        # A replica that Ray has given up has left a group behind and no actor.
        for name in groups | set(actors):
            if name.startswith(PREFIXES):
                remove_group(name)
        return sorted(actors)
    finally:
        ray.shutdown()
