"""What the supervisor exports."""

from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge

from common.types import ReplicaRole
from deploy.roster import Roster


class SupervisorMetrics:
    """Replicas as the supervisor sees them."""

    def __init__(self, roster: Roster) -> None:
        self.registry = CollectorRegistry()
        self.restarts = Counter(
            "dvd_replica_restarts", "Replicas that came back.", ["role"], registry=self.registry
        )
        ready = Gauge(
            "dvd_replicas_ready", "Replicas in the roster.", ["role"], registry=self.registry
        )
        for role in ReplicaRole:
            self.restarts.labels(role)
            ready.labels(role).set_function(partial(roster.count, role))
