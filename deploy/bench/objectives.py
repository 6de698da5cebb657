"""Service level objectives as the command line writes them: `ttft:500 tpot:50 e2el:5000`."""

from dataclasses import dataclass
from typing import Literal, cast, get_args

from common.errors import ConfigError
from deploy.bench.exchange import Exchange

Measure = Literal["ttft", "tpot", "e2el"]


@dataclass(frozen=True, slots=True)
class Objective:
    """A longest time.

    Attributes:
        measure: Of what.
        limit_ms: Longest time in milliseconds.
    """

    measure: Measure
    limit_ms: float

    def is_met(self, exchange: Exchange) -> bool:
        """Whether an answered request kept it; an answer without such a time did."""
        seconds = {
            "ttft": exchange.ttft_seconds,
            "tpot": exchange.tpot_seconds,
            "e2el": exchange.e2el_seconds,
        }[self.measure]
        return seconds is None or 1000 * seconds <= self.limit_ms


def parse_objectives(words: list[str]) -> tuple[Objective, ...]:
    """Read objectives, several to a word allowed.

    Raises:
        ConfigError: One is of another measure, or has no time above 0.
    """
    parsed = []
    for word in " ".join(words).split():
        measure, _, limit = word.partition(":")
        limit_ms = _number(limit)
        if measure not in get_args(Measure) or limit_ms is None or limit_ms <= 0:
            raise ConfigError(
                f"--goodput takes ttft:MS, tpot:MS or e2el:MS with milliseconds, not {word}."
            )
        parsed.append(Objective(cast("Measure", measure), limit_ms))
    return tuple(parsed)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
