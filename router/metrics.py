"""What a router exports."""

from collections.abc import Iterator
from typing import Any, TypeAlias

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from router.admission import Admission
from router.language_client import LanguageClient
from router.replica_health import HealthState
from router.replica_pool import ReplicaPool
from router.standing import Refusal
from router.vision_client import VisionClient

Pool: TypeAlias = ReplicaPool[Any]

FIRST_TOKEN_BUCKETS = (
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
    20.0, 40.0, 80.0, 160.0, 640.0, 2560.0,
)  # fmt: skip


class ReplicaStates(Collector):
    """The state of every replica on the roster, read when it is asked for: who is gone is gone."""

    def __init__(self, visions: Pool, languages: Pool) -> None:
        self._pools = (visions, languages)

    def collect(self) -> Iterator[Metric]:
        """One series a replica and state; 1 for the state that it is in."""
        family = GaugeMetricFamily(
            "dvd_replica_state", "Whether a replica is in a state.", labels=["replica", "state"]
        )
        for pool in self._pools:
            for replica in pool.replicas:
                for state in HealthState:
                    is_in = float(replica.state is state)
                    family.add_metric([replica.address.name, state], is_in)
        yield family


class RouterMetrics:
    """Counters that the front door feeds, and gauges read from admission and pools."""

    def __init__(
        self,
        admission: Admission,
        visions: ReplicaPool[VisionClient],
        languages: ReplicaPool[LanguageClient],
    ) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "dvd_requests", "Requests by outcome.", ["status", "finish_reason"],
            registry=self.registry,
        )  # fmt: skip
        self.raised_for_load = Counter(
            "dvd_requests_raised_for_load", "Answers that load has made compress more.",
            registry=self.registry,
        )  # fmt: skip
        self.resumptions = Counter(
            "dvd_resumptions", "Times that a finished answer went on at another replica.",
            registry=self.registry,
        )  # fmt: skip
        self.refusals = Counter(
            "dvd_refusals", "Requests refused at the door, by cause.", ["cause"],
            registry=self.registry,
        )  # fmt: skip
        for cause in Refusal:
            self.refusals.labels(cause.value)
        admission.on_refusal = lambda cause: self.refusals.labels(cause.value).inc()
        self.time_to_first_token = Histogram(
            "dvd_time_to_first_token_seconds", "From arrival to the first token.",
            buckets=FIRST_TOKEN_BUCKETS, registry=self.registry,
        )  # fmt: skip
        self._gauge("dvd_num_requests_running", "Requests in flight.").set_function(
            lambda: admission.requests
        )
        self._gauge("dvd_router_outstanding_tiles", "Tiles in flight.").set_function(
            lambda: admission.tiles
        )
        self._gauge("dvd_router_outstanding_tokens", "Estimated tokens in flight.").set_function(
            lambda: admission.tokens
        )
        self._gauge("dvd_router_retained_image_bytes", "Picture bytes held.").set_function(
            lambda: admission.image_bytes
        )
        self.registry.register(ReplicaStates(visions, languages))
        up = Gauge("dvd_replicas_up", "Replicas that take work.", ["role"], registry=self.registry)
        up.labels("vision").set_function(lambda: visions.num_up)
        up.labels("language").set_function(lambda: languages.num_up)

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(name, text, registry=self.registry)
