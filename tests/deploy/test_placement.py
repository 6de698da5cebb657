"""Where Ray puts a replica: on a node with its role's labels and custom resources, or nowhere."""

from collections.abc import Iterator
from typing import Any

import pytest
import ray

from common.errors import UnavailableError
from common.types import ReplicaRole
from deploy.config import PlacementConfig
from deploy.placement import PlacedReplica, ReplicaPlan, running_replicas
from deploy.ray_cluster import NAMESPACE, OBJECT_STORE_BYTES

pytestmark = pytest.mark.cluster

LABEL = "dvd.role"


class Placed:
    """Answers where it was placed."""

    def is_there(self) -> bool:
        return True


@pytest.fixture(scope="module", autouse=True)
def node() -> Iterator[None]:
    """One node of the vision side, with two of a custom resource."""
    ray.init(
        address="local",
        namespace=NAMESPACE,
        num_cpus=2,
        resources={"drawn": 2},
        labels={LABEL: "vision"},
        object_store_memory=OBJECT_STORE_BYTES,
        include_dashboard=False,
        log_to_driver=False,
        _node_ip_address="127.0.0.1",
    )
    yield
    ray.shutdown()


def plan(name: str, **placement: Any) -> ReplicaPlan:
    return ReplicaPlan(
        name=name,
        role=ReplicaRole.VISION,
        actor_class=Placed,
        arguments=(),
        placement=PlacementConfig.model_validate(placement),
        num_gpus=0.0,
        fingerprint="",
        env_vars={},
    )


@pytest.mark.parametrize("placement", [{"labels": {LABEL: "vision"}}, {"resources": {"drawn": 2}}])
def test_a_replica_runs_where_its_role_asks_for(placement: dict[str, Any]) -> None:
    placed = PlacedReplica(plan("there", **placement))
    assert ray.get(placed.actor.is_there.remote())
    assert running_replicas() == {"there"}
    placed.kill()


@pytest.mark.parametrize(
    ("placement", "words"),
    [
        (
            {"labels": {LABEL: "language"}},
            "with labels {'dvd.role': 'language'}; available",
        ),
        ({"resources": {"drawn": 3}}, "it asks for {'CPU': 1.0, 'drawn': 3.0}; available"),
    ],
)
def test_what_no_node_has_is_named(placement: dict[str, Any], words: str) -> None:
    with pytest.raises(UnavailableError) as refused:
        PlacedReplica(plan("nowhere", **placement), patience_seconds=0.5)
    assert words in refused.value.message
