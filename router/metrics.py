"""What a router exports; `docs/metrics.md` explains every name."""

from collections.abc import Iterator
from dataclasses import fields
from typing import Any, TypeAlias

from prometheus_client import Counter, Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from common.metric_families import (
    BuildInfo,
    counter,
    counters,
    gauge,
    histogram,
    histograms,
    process_registry,
)
from router.admission import Admission
from router.door_stats import DoorStats
from router.language_client import LanguageClient
from router.replica_health import HealthState
from router.replica_pool import ReplicaPool
from router.standing import Refusal
from router.vision_client import VisionClient

Pool: TypeAlias = ReplicaPool[Any]


class ReplicaCollector(Collector):
    """Exports replicas as this router sees them, when it is asked: who is gone is gone."""

    def __init__(self, visions: Pool, languages: Pool) -> None:
        self._pools = (visions, languages)

    def collect(self) -> Iterator[Metric]:
        """Read the pools as they are now."""
        up = GaugeMetricFamily("dvd_replicas_up", "Replicas that take work.", labels=["role"])
        for pool in self._pools:
            up.add_metric([pool.role], pool.num_up)
        yield up
        yield counters(
            "dvd_retries", "Failures that another attempt was to make good.", "role",
            {pool.role: pool.num_retries for pool in self._pools},
        )  # fmt: skip
        yield self._states()
        yield from self._placed()

    def _states(self) -> GaugeMetricFamily:
        states = GaugeMetricFamily(
            "dvd_replica_state", "Whether a replica is in a state.", labels=["replica", "state"]
        )
        for pool in self._pools:
            for replica in pool.replicas:
                for state in HealthState:
                    is_in = float(replica.state is state)
                    states.add_metric([replica.address.name, state], is_in)
        return states

    def _placed(self) -> Iterator[Metric]:
        labels = ["role", "replica"]
        placements = CounterMetricFamily(
            "dvd_placements", "Pieces of work placed on a replica.", labels=labels
        )
        placed = GaugeMetricFamily(
            "dvd_replica_placed_work", "Work placed on a replica and not done.", labels=labels
        )
        for pool in self._pools:
            for replica in pool.replicas:
                name = [pool.role, replica.address.name]
                placements.add_metric(name, replica.num_placed)
                placed.add_metric(name, replica.placed_work)
        yield placements
        yield placed


class AdmissionCollector(Collector):
    """Exports what is outstanding."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission

    def collect(self) -> Iterator[Metric]:
        """Read the amounts as they are now."""
        held = self._admission
        yield gauge("dvd_num_requests_running", "Requests in flight.", held.requests)
        yield gauge("dvd_router_load_ratio", "Largest share of a bound in use.", held.load)
        yield gauge("dvd_router_outstanding_tiles", "Tiles in flight.", held.tiles)
        yield gauge("dvd_router_outstanding_tokens", "Estimated tokens in flight.", held.tokens)
        yield gauge("dvd_router_retained_image_bytes", "Picture bytes held.", held.image_bytes)


class DoorCollector(Collector):
    """Exports what the doors have measured."""

    def __init__(self, stats: DoorStats) -> None:
        self._stats = stats

    def collect(self) -> Iterator[Metric]:
        """Read the counts as they are now."""
        yield from self._times()
        yield from self._sizes()
        stats = self._stats
        yield counter(
            "dvd_requests_raised_for_load", "Answers that load has made compress more.",
            stats.num_raised,
        )  # fmt: skip
        yield counter(
            "dvd_resumptions", "Times that a finished answer went on at another replica.",
            stats.num_resumptions,
        )  # fmt: skip
        yield counter(
            "dvd_delivered_tokens", "Tokens given to clients.", stats.num_delivered_tokens
        )
        low = stats.num_compressed_tiles
        yield counters(
            "dvd_answered_tiles", "Tiles of answered requests.", "resolution",
            {"high": stats.tiles.total - low, "low": low},
        )  # fmt: skip
        yield counters(
            "dvd_answered_visual_tokens", "Visual tokens of answered requests.", "point",
            {"before": stats.num_full_tokens, "after": stats.num_visual_tokens},
        )  # fmt: skip

    def _times(self) -> Iterator[Metric]:
        stats = self._stats
        yield histogram(
            "dvd_e2e_request_latency_seconds", "From arrival to the end.", stats.request_seconds
        )
        yield histogram(
            "dvd_time_to_first_token_seconds", "From arrival to the first token.",
            stats.first_token_seconds,
        )  # fmt: skip
        yield histogram(
            "dvd_inter_token_latency_seconds", "Before each further token.",
            stats.inter_token_seconds,
        )  # fmt: skip
        yield histogram(
            "dvd_request_time_per_output_token_seconds", "Of an answer, by its further tokens.",
            stats.token_seconds,
        )  # fmt: skip
        stages = {each.name: getattr(stats.stages, each.name) for each in fields(stats.stages)}
        yield histograms("dvd_request_stage_seconds", "Of an answer, by stage.", "stage", stages)

    def _sizes(self) -> Iterator[Metric]:
        stats = self._stats
        yield histogram("dvd_request_prompt_tokens", "Tokens of a prompt.", stats.prompt_tokens)
        yield histogram(
            "dvd_request_generation_tokens", "Tokens of its answers.", stats.generation_tokens
        )
        yield histogram("dvd_request_images", "Pictures of a request.", stats.images)
        yield histogram("dvd_request_tiles", "Tiles of a request.", stats.tiles)


class RouterMetrics:
    """What doors and admission count, and what is read from the parts when scraped.

    Attributes:
        registry: All of it.
        door: What the doors measure.
        requests: Those that have ended, by status and finish reason.
        refusals: Those that were refused at the door, by cause.
    """

    def __init__(
        self,
        admission: Admission,
        visions: ReplicaPool[VisionClient],
        languages: ReplicaPool[LanguageClient],
        build: BuildInfo | None = None,
    ) -> None:
        self.door = DoorStats()
        self.registry = process_registry(lambda: build or BuildInfo())
        self.requests = Counter(
            "dvd_requests", "Requests by outcome.", ["status", "finish_reason"],
            registry=self.registry,
        )  # fmt: skip
        self.refusals = Counter(
            "dvd_refusals", "Requests refused at the door, by cause.", ["cause"],
            registry=self.registry,
        )  # fmt: skip
        for cause in Refusal:
            self.refusals.labels(cause.value)
        admission.on_refusal = lambda cause: self.refusals.labels(cause.value).inc()
        self.registry.register(DoorCollector(self.door))
        self.registry.register(AdmissionCollector(admission))
        self.registry.register(ReplicaCollector(visions, languages))

    def count_request(self, status: str, finish_reason: str) -> None:
        """Count a request that has ended."""
        self.requests.labels(status, finish_reason).inc()
