"""What the supervisor exports."""

from dataclasses import dataclass

from common.metric_families import BuildInfo
from common.types import ReplicaAddress, ReplicaRole
from deploy.metrics import SupervisorMetrics
from deploy.roster import Roster
from tests.fakes import in_virtual_time

ROLES = list(ReplicaRole)


@dataclass
class FakePlan:
    """What is to run."""

    num_routers: int = 1
    num_router_restarts: int = 0

    def num_wanted(self, role: ReplicaRole) -> int:
        return 1 + ROLES.index(role)


def metrics_of(roster: Roster, plan: FakePlan | None = None) -> SupervisorMetrics:
    return SupervisorMetrics(roster, plan or FakePlan(), lambda: BuildInfo("tiny", "print"))


def values(metrics: SupervisorMetrics, name: str) -> list[float | None]:
    """One value for each role."""
    registry = metrics.registry
    return [registry.get_sample_value(name, {"role": role}) for role in ROLES]


@in_virtual_time
async def test_every_role_is_exported_from_the_start() -> None:
    metrics = metrics_of(Roster())
    assert values(metrics, "dvd_replicas_ready") == [0, 0]
    assert values(metrics, "dvd_replicas_wanted") == [1, 2]
    assert values(metrics, "dvd_replica_restarts_total") == [0, 0]


@in_virtual_time
async def test_the_roster_is_counted_as_it_is_now() -> None:
    roster = Roster()
    metrics = metrics_of(roster)
    await roster.put(ReplicaAddress("vision-0", ReplicaRole.VISION, "i", "a", "m", "f"))
    assert values(metrics, "dvd_replicas_ready") == [1, 0]
    await roster.remove("vision-0")
    assert values(metrics, "dvd_replicas_ready") == [0, 0]


@in_virtual_time
async def test_routers_are_counted_as_they_are_now() -> None:
    plan = FakePlan()
    registry = metrics_of(Roster(), plan).registry
    assert registry.get_sample_value("dvd_router_restarts_total") == 0
    plan.num_routers, plan.num_router_restarts = 2, 3
    assert registry.get_sample_value("dvd_routers_wanted") == 2
    assert registry.get_sample_value("dvd_router_restarts_total") == 3
