"""What the supervisor exports."""

from common.types import ReplicaAddress, ReplicaRole
from deploy.metrics import SupervisorMetrics
from deploy.roster import Roster
from tests.fakes import in_virtual_time

ROLES = list(ReplicaRole)


def values(metrics: SupervisorMetrics, name: str) -> list[float | None]:
    """One value for each role."""
    registry = metrics.registry
    return [registry.get_sample_value(name, {"role": role}) for role in ROLES]


@in_virtual_time
async def test_every_role_is_exported_from_the_start() -> None:
    metrics = SupervisorMetrics(Roster())
    assert values(metrics, "dvd_replicas_ready") == [0, 0]
    assert values(metrics, "dvd_replica_restarts_total") == [0, 0]


@in_virtual_time
async def test_the_roster_is_counted_as_it_is_now() -> None:
    roster = Roster()
    metrics = SupervisorMetrics(roster)
    await roster.put(ReplicaAddress("vision-0", ReplicaRole.VISION, "i", "a", "m", "f"))
    assert values(metrics, "dvd_replicas_ready") == [1, 0]
    await roster.remove("vision-0")
    assert values(metrics, "dvd_replicas_ready") == [0, 0]
