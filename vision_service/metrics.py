"""What a vision replica exports; `docs/metrics.md` explains every name."""

from collections.abc import Iterator

from prometheus_client import Counter, Metric
from prometheus_client.registry import Collector

from common.metric_families import (
    BuildInfo,
    counter,
    counters,
    gauge,
    histogram,
    process_registry,
    stage_busy,
)
from vision_service.encoding import Encoder
from vision_service.engine import VisionEngine
from vision_service.feature_cache import FeatureCache


class EngineCollector(Collector):
    """Exports what the engine counts itself; tiles by batches is how full a batch was."""

    def __init__(self, engine: VisionEngine, weight_bytes: int) -> None:
        self._engine = engine
        self._weight_bytes = weight_bytes

    def collect(self) -> Iterator[Metric]:
        """Read the counts as they are now."""
        engine, stats = self._engine, self._engine.stats
        yield counter("dvd_vision_batches", "Passes of the vision transformer.", stats.num_batches)
        yield counter("dvd_vision_encoded_tiles", "Tiles in those passes.", stats.num_tiles)
        yield histogram("dvd_vision_batch_tiles", "Tiles of one pass.", stats.batch_tiles)
        yield counter("dvd_vision_gated_tiles", "Tiles scored by the gate.", stats.num_gate_rows)
        yield counter(
            "dvd_vision_unscored_tiles", "Tiles without a score, kept at full resolution.",
            stats.num_unscored_tiles,
        )  # fmt: skip
        high = stats.num_projected_tiles - stats.num_compressed_tiles
        yield counters(
            "dvd_vision_tiles", "Tiles projected, by resolution.", "resolution",
            {"high": high, "low": stats.num_compressed_tiles},
        )  # fmt: skip
        running, waiting = engine.running_images, engine.waiting_images
        yield gauge("dvd_num_requests_running", "Pictures partly encoded.", running)
        yield gauge("dvd_num_requests_waiting", "Pictures that wait.", waiting)
        yield gauge("dvd_vision_waiting_tiles", "Tiles not yet encoded.", engine.outstanding_tiles)
        yield gauge("dvd_weight_bytes", "Tensor bytes held.", self._weight_bytes)


class EncoderCollector(Collector):
    """Exports what encoder and sender count themselves, and for how long each stage worked."""

    def __init__(self, encoder: Encoder, engine: VisionEngine) -> None:
        self._encoder = encoder
        self._engine = engine

    def collect(self) -> Iterator[Metric]:
        """Read the counts as they are now."""
        stats, engine, streams = self._encoder.stats, self._engine.stats, self._encoder.streams
        yield histogram("dvd_vision_queue_seconds", "Waiting, of a picture.", stats.queue_seconds)
        yield histogram(
            "dvd_vision_preprocess_seconds", "Decoding and tiling.", stats.preprocess_seconds
        )
        yield histogram("dvd_vision_vit_seconds", "Vision transformer.", stats.vit_seconds)
        yield histogram("dvd_vision_vir_seconds", "Resolution gate.", stats.gate_seconds)
        yield histogram("dvd_vision_projector_seconds", "Projection.", stats.projector_seconds)
        yield from self._by_work()
        yield histogram(
            "dvd_embedding_transfer_seconds", "From manifest to acknowledgement.",
            streams.transfer_seconds,
        )  # fmt: skip
        yield histogram(
            "dvd_embedding_credit_wait_seconds", "Waiting for credit.", streams.credit_seconds
        )
        yield counters(
            "dvd_embedding_streams", "Embedding streams, by how they ended.", "outcome",
            {"committed": streams.committed, "broken": streams.broken, "refused": streams.refused},
        )  # fmt: skip
        yield stage_busy(
            {
                "preprocess": stats.preprocessing.seconds,
                "vit": engine.busy_seconds,
                "gate": engine.gate_seconds,
                "project": engine.project_seconds,
                "transfer": streams.transferring.seconds,
            }
        )

    def _by_work(self) -> Iterator[Metric]:
        encoder, stats = self._encoder, self._encoder.stats
        encoded, projected = stats.vit_seconds.num_values, stats.projector_seconds.num_values
        yield counters(
            "dvd_vision_computed", "Work that was computed.", "work",
            {"encoding": encoded, "projection": projected},
        )  # fmt: skip
        yield counters(
            "dvd_vision_kept", "Work that was saved because its result was kept.", "work",
            {"encoding": stats.num_kept_images, "projection": stats.num_kept_projections},
        )  # fmt: skip
        joined = {
            "encoding": encoder.encodings.num_joined,
            "projection": encoder.projections.num_joined,
        }
        yield counters(
            "dvd_vision_joined", "Work that was saved because it was under way.", "work", joined
        )


class CacheCollector(Collector):
    """Exports what is kept of pictures, and what no longer is."""

    def __init__(self, cache: FeatureCache) -> None:
        self._cache = cache

    def collect(self) -> Iterator[Metric]:
        """Read the counts as they are now."""
        cache, evicted = self._cache, self._cache.evicted
        yield counters(
            "dvd_vision_evicted", "What was dropped for want of room.", "kind",
            {
                "output": evicted.outputs,
                "embedding": evicted.embeddings,
                "scores": evicted.scores,
            },
        )  # fmt: skip
        yield gauge("dvd_vision_features_kept_bytes", "What is kept of pictures.", cache.kept_bytes)
        yield gauge(
            "dvd_vision_features_in_use_bytes", "What pushes use of it.", cache.referenced_bytes
        )
        yield gauge("dvd_vision_features_max_bytes", "Bound of what is kept.", cache.max_bytes)


class VisionMetrics:
    """Counters that the servicer feeds, and what is read from the parts when scraped."""

    def __init__(
        self,
        engine: VisionEngine,
        encoder: Encoder,
        cache: FeatureCache,
        weight_bytes: int,
        build: BuildInfo,
    ) -> None:
        self.registry = process_registry(lambda: build)
        self.registry.register(EngineCollector(engine, weight_bytes))
        self.registry.register(EncoderCollector(encoder, engine))
        self.registry.register(CacheCollector(cache))
        self.tokens = Counter(
            "dvd_vision_tokens",
            "Visual tokens before and after the visual resolution router.",
            ["point"],
            registry=self.registry,
        )
        self.embedding_bytes = Counter(
            "dvd_embedding_bytes", "Embedding payload bytes.", ["direction"], registry=self.registry
        )
        self.embedding_bytes.labels("sent")
        for point in ("before", "after"):
            self.tokens.labels(point)
