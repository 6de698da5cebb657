"""What a language replica exports."""

from prometheus_client import CollectorRegistry, Counter, Gauge

from language_service.engine import LanguageEngine
from language_service.inbox import Inbox


class LanguageMetrics:
    """Counters that the servicer feeds, and gauges read from engine and inbox when scraped."""

    def __init__(self, engine: LanguageEngine, inbox: Inbox, weight_bytes: int) -> None:
        self.registry = CollectorRegistry()
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
        self._gauge("dvd_weight_bytes", "Tensor bytes held.").set(weight_bytes)

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(name, text, registry=self.registry)
