"""Hand-made timelines of requests."""

from deploy.bench.door import StageSeconds, TokenUse
from deploy.bench.exchange import Arrival, Exchange

STAGES = StageSeconds(0.01, 0.02, 0.03, 0.004, 0.005, 0.006, 0.07, 0.08)


def answered(
    sent_at: float, *arrivals_at: float, tokens: int = 1, ended_at: float | None = None
) -> Exchange:
    """A request whose answer came in messages of so many tokens, and ended with the last."""
    return Exchange(
        sent_at,
        arrivals_at[-1] if ended_at is None else ended_at,
        tuple(Arrival(at, tokens) for at in arrivals_at),
        use=TokenUse(text_tokens=10, output_tokens=tokens * len(arrivals_at)),
    )


def failed(sent_at: float, ended_at: float, code: str) -> Exchange:
    return Exchange(sent_at, ended_at, error=code)
