"""What a language replica exports."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from language_service.answering import Answerer
from language_service.engine import LanguageEngine
from language_service.inbox import Inbox


class EngineCollector(Collector):
    """Exports what engine and answerer count themselves; hits by queries is the hit rate."""

    def __init__(self, engine: LanguageEngine, answerer: Answerer) -> None:
        self._engine = engine
        self._answerer = answerer

    def collect(self) -> Iterator[CounterMetricFamily]:
        """Read the counts as they are now."""
        engine, stats = self._engine, self._engine.stats
        yield _count(
            "dvd_prefix_query_tokens", "Prompt tokens looked up in the KV cache.",
            stats.num_query_tokens,
        )  # fmt: skip
        yield _count("dvd_prefix_hit_tokens", "Prompt tokens found there.", stats.num_hit_tokens)
        yield _count(
            "dvd_reused_images", "Pictures neither encoded nor sent, because their KV was kept.",
            self._answerer.num_reused_images,
        )  # fmt: skip
        yield _count(
            "dvd_preemptions", "Requests that gave their KV room back before their end.",
            engine.num_preemptions,
        )  # fmt: skip
        yield _count("dvd_forward_seconds", "Time in the model.", engine.forward_seconds)


class LanguageMetrics:
    """Counters that the servicer feeds, and gauges read from engine and inbox when scraped."""

    def __init__(
        self, engine: LanguageEngine, answerer: Answerer, inbox: Inbox, weight_bytes: int
    ) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(EngineCollector(engine, answerer))
        self.prompt_tokens = Counter(
            "dvd_prompt_tokens", "Prompt tokens by kind.", ["kind"], registry=self.registry
        )
        self.generation_tokens = Counter(
            "dvd_generation_tokens", "Tokens generated.", registry=self.registry
        )
        self.embedding_bytes = Counter(
            "dvd_embedding_bytes", "Embedding payload bytes.", ["direction"], registry=self.registry
        )
        self._gauge("dvd_num_requests_running", "In the batch.").set_function(
            lambda: engine.running_requests
        )
        self._gauge("dvd_num_requests_waiting", "Waiting for inbox or KV room.").set_function(
            lambda: engine.waiting_requests + inbox.waiting_requests
        )
        self._gauge("dvd_inbox_reserved_bytes", "Reserved or in use.").set_function(
            lambda: inbox.reserved_bytes
        )
        self._gauge("dvd_kv_used_tokens", "KV tokens allocated.").set_function(
            lambda: engine.used_kv_tokens
        )
        self._gauge("dvd_kv_free_tokens", "KV tokens free.").set_function(
            lambda: engine.free_kv_tokens
        )
        self._gauge("dvd_kv_kept_tokens", "KV tokens that may serve again.").set_function(
            lambda: engine.kept_kv_tokens
        )
        self._gauge("dvd_weight_bytes", "Tensor bytes held.").set(weight_bytes)

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(name, text, registry=self.registry)


def _count(name: str, text: str, value: float) -> CounterMetricFamily:
    return CounterMetricFamily(name, text, value=value)
