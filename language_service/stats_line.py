"""What a language replica says of itself every few seconds."""

from common.stats_log import Rise, percent
from language_service.engine import LanguageEngine
from language_service.inbox import Inbox


class LanguageStatsLine:
    """Reads one engine and one inbox."""

    def __init__(self, engine: LanguageEngine, inbox: Inbox) -> None:
        self._engine = engine
        self._inbox = inbox
        self._computed = Rise(lambda: engine.stats.num_computed_tokens)
        self._answers = Rise(lambda: engine.stats.num_answer_tokens)
        self._queried = Rise(lambda: engine.stats.num_query_tokens)
        self._hit = Rise(lambda: engine.stats.num_hit_tokens)

    def next(self, seconds: float) -> str:
        """What has happened; probes, of a token each, are nothing."""
        engine = self._engine
        computed, answers = self._computed.take(), self._answers.take()
        queried, hit = self._queried.take(), self._hit.take()
        waiting = engine.waiting_requests + self._inbox.waiting_requests
        if not (answers or engine.running_requests or waiting):
            return ""
        return (
            f"running {engine.running_requests}, waiting {waiting}; "
            f"prompt {(computed - answers) / seconds:.1f} tokens/s, "
            f"generated {answers / seconds:.1f} tokens/s; "
            f"KV cache {100 * engine.kv_usage:.1f} %, prefix hits {percent(hit, queried)}"
        )
