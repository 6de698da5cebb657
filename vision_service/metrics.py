"""What a vision replica exports."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from vision_service.encoding import Encoder
from vision_service.engine import VisionEngine
from vision_service.engine_stats import EngineStats
from vision_service.feature_cache import FeatureCache


class EngineCollector(Collector):
    """Exports the engine's and the encoder's own counts.

    Tiles divided by batches is how full a batch was.
    """

    def __init__(self, stats: EngineStats, encoder: Encoder) -> None:
        self._stats = stats
        self._encoder = encoder

    def collect(self) -> Iterator[CounterMetricFamily]:
        """Read the counts as they are now."""
        stats, encoder = self._stats, self._encoder
        yield _count("dvd_vision_batches", "Passes of the vision transformer.", stats.num_batches)
        yield _count("dvd_vision_encoded_tiles", "Tiles in those passes.", stats.num_tiles)
        yield _count("dvd_vision_gated_tiles", "Tiles scored by the gate.", stats.num_gate_rows)
        yield _count(
            "dvd_vision_unscored_tiles", "Tiles without a score, kept at full resolution.",
            stats.num_unscored_tiles,
        )  # fmt: skip
        yield _by_kind(
            "dvd_vision_kept", "Work that was saved because its result was kept.",
            encoder.stats.num_kept_images, encoder.stats.num_kept_projections,
        )  # fmt: skip
        yield _by_kind(
            "dvd_vision_joined", "Work that was saved because it was under way.",
            encoder.encodings.num_joined, encoder.projections.num_joined,
        )  # fmt: skip
        streams = CounterMetricFamily(
            "dvd_embedding_streams", "Embedding streams, by how they ended.", labels=["outcome"]
        )
        streams.add_metric(["committed"], encoder.streams.committed)
        streams.add_metric(["broken"], encoder.streams.broken)
        streams.add_metric(["refused"], encoder.streams.refused)
        yield streams
        tiles = CounterMetricFamily(
            "dvd_vision_tiles", "Tiles projected, by resolution.", labels=["resolution"]
        )
        tiles.add_metric(["low"], stats.num_compressed_tiles)
        tiles.add_metric(["high"], stats.num_projected_tiles - stats.num_compressed_tiles)
        yield tiles


class VisionMetrics:
    """Counters that the servicer feeds, and what is read from engine and cache when scraped."""

    def __init__(
        self, engine: VisionEngine, encoder: Encoder, cache: FeatureCache, weight_bytes: int
    ) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(EngineCollector(engine.stats, encoder))
        self.tokens = Counter(
            "dvd_vision_tokens",
            "Visual tokens before and after the visual resolution router.",
            ["point"],
            registry=self.registry,
        )
        self.embedding_bytes = Counter(
            "dvd_embedding_bytes", "Embedding payload bytes.", ["direction"], registry=self.registry
        )
        self._gauge("dvd_num_requests_running", "Pictures partly encoded.").set_function(
            lambda: engine.running_images
        )
        self._gauge("dvd_num_requests_waiting", "Pictures that wait.").set_function(
            lambda: engine.waiting_images
        )
        self._gauge("dvd_vision_waiting_tiles", "Tiles not yet encoded.").set_function(
            lambda: engine.outstanding_tiles
        )
        self._gauge("dvd_vision_features_kept_bytes", "What is kept of pictures.").set_function(
            lambda: cache.kept_bytes
        )
        self._gauge("dvd_vision_features_in_use_bytes", "What pushes use of it.").set_function(
            lambda: cache.referenced_bytes
        )
        self._gauge("dvd_weight_bytes", "Tensor bytes held.").set(weight_bytes)

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(name, text, registry=self.registry)


def _count(name: str, text: str, value: int) -> CounterMetricFamily:
    return CounterMetricFamily(name, text, value=value)


def _by_kind(name: str, text: str, encodings: int, projections: int) -> CounterMetricFamily:
    family = CounterMetricFamily(name, text, labels=["work"])
    family.add_metric(["encoding"], encodings)
    family.add_metric(["projection"], projections)
    return family
