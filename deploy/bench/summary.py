"""What a load came to: rates, times, tokens. Pure: exchanges in, numbers out.

Times and rates are vLLM's: the first token counts from sending, a time per output token leaves the
first token out, and only answered requests count.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields

import numpy as np

from common.errors import ConfigError
from deploy.bench.door import StageSeconds
from deploy.bench.exchange import Exchange
from deploy.bench.objectives import Objective


@dataclass(frozen=True, slots=True)
class Percentile:
    """A value that `percent` of all values do not exceed."""

    percent: float
    value_ms: float


@dataclass(frozen=True, slots=True)
class Distribution:
    """Times in milliseconds; all zero where there are none."""

    mean_ms: float
    median_ms: float
    std_ms: float
    percentiles: tuple[Percentile, ...]


@dataclass(frozen=True, slots=True)
class ErrorCount:
    """How many requests ended with a code."""

    code: str
    count: int


@dataclass(frozen=True, slots=True)
class Tokens:
    """Totals over answered requests.

    Attributes:
        text: Of prompts.
        visual: Of prompts, as sent to the language model.
        visual_before: What these would be without the resolution router.
        cached: Of prompts, not computed.
        output: Of answers.
        tiles: Of pictures.
        compressed_tiles: Of these.
    """

    text: int
    visual: int
    visual_before: int
    cached: int
    output: int
    tiles: int
    compressed_tiles: int

    @property
    def prompt(self) -> int:
        """Text and pictures."""
        return self.text + self.visual


@dataclass(frozen=True, slots=True)
class Summary:
    """A whole load.

    Attributes:
        duration_seconds: From the first sending to the last end.
        completed: Requests answered.
        failed: Requests that ended with an error.
        cut_off: Requests under way when the load was stopped.
        errors: Failed requests by code, most frequent first.
        met_objectives: Answered requests that kept all objectives; None without any.
        num_pictures: Of answered requests.
        num_repeated: Of these, seen before.
        retries: Requests that the client asked again.
        peak_output_tokens: Most in one second.
        peak_concurrency: Most requests under way at once.
        tokens: Totals.
        ttft: Times to the first token.
        tpot: Times per output token behind the first, one for each request.
        itl: Times between tokens, of all requests.
        e2el: Times to the end.
        stages: Mean times of the stages; None where no answer tells them.
    """

    duration_seconds: float
    completed: int
    failed: int
    cut_off: int
    errors: tuple[ErrorCount, ...]
    met_objectives: int | None
    num_pictures: int
    num_repeated: int
    retries: int
    peak_output_tokens: int
    peak_concurrency: int
    tokens: Tokens
    ttft: Distribution
    tpot: Distribution
    itl: Distribution
    e2el: Distribution
    stages: StageSeconds | None

    def per_second(self, count: float) -> float:
        """A count as a rate over the whole load."""
        return count / self.duration_seconds if self.duration_seconds > 0 else 0.0


def summarise(
    exchanges: Sequence[Exchange],
    objectives: Sequence[Objective],
    percents: Sequence[float],
    retries: int = 0,
) -> Summary:
    """Work out everything.

    Args:
        exchanges: All requests of a load.
        objectives: What an answer has to keep to count for goodput.
        percents: Percentiles to work out, 0 to 100.
        retries: Requests that the client asked again.
    """
    answered = [exchange for exchange in exchanges if exchange.is_answered]
    errors = Counter(exchange.error for exchange in exchanges if exchange.error)
    kept = sum(all(each.is_met(exchange) for each in objectives) for exchange in answered)
    return Summary(
        duration_seconds=_duration(exchanges),
        completed=len(answered),
        failed=errors.total(),
        cut_off=sum(exchange.is_cut_off for exchange in exchanges),
        errors=tuple(ErrorCount(code, count) for code, count in errors.most_common()),
        met_objectives=kept if objectives else None,
        num_pictures=sum(exchange.num_pictures for exchange in answered),
        num_repeated=sum(e.num_pictures for e in answered if e.repeats_pictures),
        retries=retries,
        peak_output_tokens=_peak_output_tokens(exchanges),
        peak_concurrency=_peak_concurrency(exchanges),
        tokens=_tokens(answered),
        ttft=distribution((exchange.ttft_seconds for exchange in answered), percents),
        tpot=distribution(
            (e.tpot_seconds for e in answered if e.tpot_seconds is not None), percents
        ),
        itl=distribution((gap for e in answered for gap in e.itl_seconds), percents),
        e2el=distribution((exchange.e2el_seconds for exchange in answered), percents),
        stages=_mean_stages(answered),
    )


def parse_percents(text: str) -> tuple[float, ...]:
    """Read percentiles as the command line writes them: `50,90,99`.

    Raises:
        ConfigError: One is no number from 0 to 100.
    """
    try:
        percents = tuple(float(word) for word in text.split(","))
    except ValueError:
        percents = (-1.0,)
    if not all(0 <= percent <= 100 for percent in percents):
        raise ConfigError(
            f"--metric-percentiles takes numbers from 0 to 100, as 50,90,99, not {text}."
        )
    return percents


def distribution(seconds: Iterable[float], percents: Sequence[float]) -> Distribution:
    """Work out mean, median, spread and percentiles, interpolated between neighbours."""
    times_ms = 1000 * np.fromiter(seconds, dtype=float)
    if not times_ms.size:
        return Distribution(0.0, 0.0, 0.0, tuple(Percentile(each, 0.0) for each in percents))
    return Distribution(
        mean_ms=float(times_ms.mean()),
        median_ms=float(np.median(times_ms)),
        std_ms=float(times_ms.std()),
        percentiles=tuple(
            Percentile(each, float(np.percentile(times_ms, each))) for each in percents
        ),
    )


def _duration(exchanges: Sequence[Exchange]) -> float:
    if not exchanges:
        return 0.0
    first = min(exchange.sent_at_seconds for exchange in exchanges)
    return max(exchange.ended_at_seconds for exchange in exchanges) - first


def _tokens(answered: Sequence[Exchange]) -> Tokens:
    uses = [exchange.use for exchange in answered if exchange.use is not None]
    return Tokens(
        text=sum(use.text_tokens for use in uses),
        visual=sum(use.visual_tokens for use in uses),
        visual_before=sum(use.visual_tokens_before for use in uses),
        cached=sum(use.cached_tokens for use in uses),
        output=sum(use.output_tokens for use in uses),
        tiles=sum(use.tiles for use in uses),
        compressed_tiles=sum(use.compressed_tiles for use in uses),
    )


def _peak_output_tokens(exchanges: Sequence[Exchange]) -> int:
    """Most tokens in one of the seconds since the first sending."""
    if not exchanges:
        return 0
    first = min(exchange.sent_at_seconds for exchange in exchanges)
    by_second: defaultdict[int, float] = defaultdict(float)
    for exchange in exchanges:
        for share in exchange.token_shares:
            by_second[int(share.at_seconds - first)] += share.num_tokens
    return round(max(by_second.values(), default=0.0))


def _peak_concurrency(exchanges: Sequence[Exchange]) -> int:
    """Most at once; one that ends as another begins makes room for it."""
    steps = [(exchange.sent_at_seconds, 1) for exchange in exchanges]
    steps += [(exchange.ended_at_seconds, -1) for exchange in exchanges]
    under_way = peak = 0
    for _, step in sorted(steps):
        under_way += step
        peak = max(peak, under_way)
    return peak


def _mean_stages(answered: Sequence[Exchange]) -> StageSeconds | None:
    told = [exchange.stages for exchange in answered if exchange.stages is not None]
    if not told:
        return None
    return StageSeconds(
        *(
            sum(getattr(stages, field.name) for stages in told) / len(told)
            for field in fields(StageSeconds)
        )
    )
