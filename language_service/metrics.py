"""What a language replica exports; `docs/metrics.md` explains every name."""

from collections.abc import Iterator

from prometheus_client import Counter, Metric
from prometheus_client.registry import Collector

from common.distribution import STAGE_SECONDS, Distribution
from common.metric_families import (
    BuildInfo,
    counter,
    counters,
    gauge,
    histogram,
    process_registry,
    stage_busy,
)
from language_service.answering import Answerer
from language_service.engine import LanguageEngine
from language_service.generation import GenerationFinished
from language_service.inbox import Inbox


class EngineCollector(Collector):
    """Exports what the engine counts itself."""

    def __init__(self, engine: LanguageEngine, weight_bytes: int) -> None:
        self._engine = engine
        self._weight_bytes = weight_bytes

    def collect(self) -> Iterator[Metric]:
        """Read the counts as they are now."""
        engine, stats = self._engine, self._engine.stats
        yield histogram("dvd_iteration_tokens", "Tokens of one engine step.", stats.step_tokens)
        yield histogram("dvd_iteration_seconds", "Time of one step.", stats.step_seconds)
        prompts = stats.num_computed_tokens - stats.num_answer_tokens
        yield counters(
            "dvd_computed_tokens", "Tokens that the model was run on.", "stage",
            {"prefill": prompts, "decode": stats.num_answer_tokens},
        )  # fmt: skip
        yield stage_busy({"prefill": stats.prefill_seconds, "decode": stats.decode_seconds})
        yield counter("dvd_forward_seconds", "Time in the model.", engine.forward_seconds)
        yield counter(
            "dvd_preemptions", "Requests that gave their KV room back before their end.",
            engine.num_preemptions,
        )  # fmt: skip
        yield counter(
            "dvd_prefix_query_tokens", "Prompt tokens looked up in the KV cache.",
            stats.num_query_tokens,
        )  # fmt: skip
        yield counter("dvd_prefix_hit_tokens", "Prompt tokens found there.", stats.num_hit_tokens)
        yield gauge("dvd_num_requests_running", "In the batch.", engine.running_requests)
        yield gauge("dvd_weight_bytes", "Tensor bytes held.", self._weight_bytes)
        yield from self._kv_cache()

    def _kv_cache(self) -> Iterator[Metric]:
        engine = self._engine
        used, free = engine.used_kv_tokens, engine.free_kv_tokens
        yield gauge("dvd_kv_cache_usage_ratio", "KV cache in use.", engine.kv_usage)
        yield gauge("dvd_kv_used_tokens", "KV tokens allocated.", used)
        yield gauge("dvd_kv_free_tokens", "KV tokens free.", free)
        yield gauge("dvd_kv_kept_tokens", "KV tokens that may serve again.", engine.kept_kv_tokens)


class InboxCollector(Collector):
    """Exports what waits before the engine: reservations, and requests without one."""

    def __init__(self, inbox: Inbox, engine: LanguageEngine, answerer: Answerer) -> None:
        self._inbox = inbox
        self._engine = engine
        self._answerer = answerer

    def collect(self) -> Iterator[Metric]:
        """Read the counts as they are now."""
        inbox = self._inbox
        waiting = inbox.waiting_requests
        yield gauge("dvd_inbox_reserved_bytes", "Reserved or in use.", inbox.reserved_bytes)
        yield gauge("dvd_inbox_max_bytes", "Bound of reservations.", inbox.max_bytes)
        yield gauge(
            "dvd_inbox_requests", "Requests that hold a reservation.", inbox.admitted_requests
        )
        yield gauge("dvd_inbox_waiting_requests", "Requests that wait for one.", waiting)
        yield gauge(
            "dvd_num_requests_waiting", "Waiting for inbox or KV room.",
            self._engine.waiting_requests + waiting,
        )  # fmt: skip
        yield counter(
            "dvd_reused_images", "Pictures neither encoded nor sent, because their KV was kept.",
            self._answerer.num_reused_images,
        )  # fmt: skip


class AnswerCollector(Collector):
    """Exports what the servicer notes of answers."""

    def __init__(self, metrics: "LanguageMetrics") -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        """Read the counts as they are now."""
        metrics = self._metrics
        yield counter("dvd_generation_tokens", "Tokens generated.", metrics.num_generated_tokens)
        yield histogram(
            "dvd_language_queue_seconds", "Until the first step.", metrics.queue_seconds
        )
        yield histogram(
            "dvd_language_prefill_seconds", "Until the first token.", metrics.prefill_seconds
        )
        yield histogram(
            "dvd_language_decode_seconds", "From the first token on.", metrics.decode_seconds
        )


class LanguageMetrics:
    """What the servicer notes, and what is read from engine and inbox when scraped.

    Attributes:
        num_generated_tokens: Tokens sent to routers.
        queue_seconds: Of each answer that is complete, before its first step.
        prefill_seconds: Of each, from there to its first token.
        decode_seconds: Of each, from there to its end.
    """

    def __init__(
        self,
        engine: LanguageEngine,
        answerer: Answerer,
        inbox: Inbox,
        weight_bytes: int,
        build: BuildInfo,
    ) -> None:
        self.num_generated_tokens = 0
        self.queue_seconds = Distribution(STAGE_SECONDS)
        self.prefill_seconds = Distribution(STAGE_SECONDS)
        self.decode_seconds = Distribution(STAGE_SECONDS)
        self.registry = process_registry(lambda: build)
        self.registry.register(EngineCollector(engine, weight_bytes))
        self.registry.register(InboxCollector(inbox, engine, answerer))
        self.registry.register(AnswerCollector(self))
        self.prompt_tokens = Counter(
            "dvd_prompt_tokens", "Prompt tokens by kind.", ["kind"], registry=self.registry
        )
        self.embedding_bytes = Counter(
            "dvd_embedding_bytes", "Embedding payload bytes.", ["direction"], registry=self.registry
        )
        self.embedding_bytes.labels("received")
        for kind in ("text", "image"):
            self.prompt_tokens.labels(kind)

    def note_answer(self, finished: GenerationFinished) -> None:
        """Add an answer that is complete."""
        self.queue_seconds.note(finished.queue_seconds)
        self.prefill_seconds.note(finished.prefill_seconds)
        self.decode_seconds.note(finished.decode_seconds)
