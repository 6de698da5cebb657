"""What a router exports."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from router.admission import Admission
from router.language_client import LanguageClient
from router.replica_pool import ReplicaPool
from router.vision_client import VisionClient

FIRST_TOKEN_BUCKETS = (
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
    20.0, 40.0, 80.0, 160.0, 640.0, 2560.0,
)  # fmt: skip


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
        up = Gauge("dvd_replicas_up", "Replicas that take work.", ["role"], registry=self.registry)
        up.labels("vision").set_function(lambda: visions.num_up)
        up.labels("language").set_function(lambda: languages.num_up)

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(name, text, registry=self.registry)
