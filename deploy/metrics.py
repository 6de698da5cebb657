"""What the supervisor exports; `docs/metrics.md` explains every name."""

from collections.abc import Callable, Iterator
from typing import Protocol

from prometheus_client import Counter, Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from common.metric_families import BuildInfo, counter, gauge, process_registry
from common.types import ReplicaRole
from deploy.roster import Roster


class Plan(Protocol):
    """What is to run."""

    def num_wanted(self, role: ReplicaRole) -> int:
        """Replicas of a role that should serve."""

    @property
    def num_routers(self) -> int:
        """Routers that should serve."""

    @property
    def num_router_restarts(self) -> int:
        """How often they were started again."""


class PlanCollector(Collector):
    """Exports what is to run beside what does."""

    def __init__(self, plan: Plan, roster: Roster) -> None:
        self._plan = plan
        self._roster = roster

    def collect(self) -> Iterator[Metric]:
        """Read both as they are now."""
        plan = self._plan
        wanted = GaugeMetricFamily(
            "dvd_replicas_wanted", "Replicas that should serve.", labels=["role"]
        )
        ready = GaugeMetricFamily("dvd_replicas_ready", "Replicas in the roster.", labels=["role"])
        for role in ReplicaRole:
            wanted.add_metric([role], plan.num_wanted(role))
            ready.add_metric([role], self._roster.count(role))
        yield wanted
        yield ready
        yield gauge("dvd_routers_wanted", "Routers that should serve.", plan.num_routers)
        yield counter(
            "dvd_router_restarts", "Routers that were started again.", plan.num_router_restarts
        )


class SupervisorMetrics:
    """Replicas and routers as the supervisor sees them."""

    def __init__(self, roster: Roster, plan: Plan, build: Callable[[], BuildInfo]) -> None:
        self.registry = process_registry(build)
        self.registry.register(PlanCollector(plan, roster))
        self.restarts = Counter(
            "dvd_replica_restarts", "Replicas that came back.", ["role"], registry=self.registry
        )
        for role in ReplicaRole:
            self.restarts.labels(role)
