"""A load as a JSON document, with the names of `vllm bench serve`, and ours behind them."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from deploy.bench.exchange import Exchange
from deploy.bench.options import BenchOptions
from deploy.bench.summary import Distribution, Summary


def document(
    options: BenchOptions,
    model_name: str,
    summary: Summary,
    exchanges: Sequence[Exchange],
    now: datetime,
) -> dict[str, Any]:
    """Write down a load.

    Args:
        options: How it was asked for.
        model_name: What was served.
        summary: What it came to.
        exchanges: All requests; written one by one where the options say so.
        now: When it ended.
    """
    written = {
        "date": now.astimezone(UTC).strftime("%Y%m%d-%H%M%S"),
        "backend": options.backend,
        "model_id": model_name,
        "num_prompts": options.num_prompts,
        # JSON has no infinity; vLLM writes the word too.
        "request_rate": "inf" if options.request_rate == float("inf") else options.request_rate,
        "burstiness": options.burstiness,
        "max_concurrency": options.max_concurrency,
        **_rates(summary),
    }
    for name in ("ttft", "tpot", "itl", "e2el"):
        written |= _times(name, getattr(summary, name))
    written |= _ours(summary)
    return written | (_details(exchanges) if options.save_detailed else {})


def _rates(summary: Summary) -> dict[str, Any]:
    tokens, good = summary.tokens, summary.met_objectives
    return {
        "duration": summary.duration_seconds,
        "completed": summary.completed,
        "failed": summary.failed,
        "total_input_tokens": tokens.prompt,
        "total_output_tokens": tokens.output,
        "request_throughput": summary.per_second(summary.completed),
        "request_goodput": None if good is None else summary.per_second(good),
        "output_throughput": summary.per_second(tokens.output),
        "total_token_throughput": summary.per_second(tokens.prompt + tokens.output),
        "max_output_tokens_per_s": summary.peak_output_tokens,
        "max_concurrent_requests": summary.peak_concurrency,
    }


def _times(name: str, times: Distribution) -> dict[str, float]:
    written = {
        f"mean_{name}_ms": times.mean_ms,
        f"median_{name}_ms": times.median_ms,
        f"std_{name}_ms": times.std_ms,
    }
    for each in times.percentiles:
        written[f"p{each.percent:g}_{name}_ms"] = each.value_ms
    return written


def _ours(summary: Summary) -> dict[str, Any]:
    tokens = summary.tokens
    written: dict[str, Any] = {
        "cut_off": summary.cut_off,
        "retries": summary.retries,
        "errors_by_code": {error.code: error.count for error in summary.errors},
        "num_pictures": summary.num_pictures,
        "repeated_pictures": summary.num_repeated,
        "picture_throughput": summary.per_second(summary.num_pictures),
        "total_text_tokens": tokens.text,
        "total_visual_tokens": tokens.visual,
        "total_visual_tokens_before_resolution": tokens.visual_before,
        "total_tiles": tokens.tiles,
        "total_compressed_tiles": tokens.compressed_tiles,
        "total_cached_tokens": tokens.cached,
    }
    if summary.stages is not None:
        for name, seconds in asdict(summary.stages).items():
            written[f"mean_{name}_ms"] = 1000 * seconds
    return written


def _details(exchanges: Sequence[Exchange]) -> dict[str, Any]:
    """One entry a request, in the order of sending; times in seconds, as vLLM has them."""
    ordered = sorted(exchanges, key=lambda exchange: exchange.sent_at_seconds)
    first = ordered[0].sent_at_seconds if ordered else 0.0
    return {
        "start_times": [exchange.sent_at_seconds - first for exchange in ordered],
        "input_lens": [
            exchange.use.text_tokens + exchange.use.visual_tokens if exchange.use else 0
            for exchange in ordered
        ],
        "output_lens": [exchange.output_tokens for exchange in ordered],
        "ttfts": [exchange.ttft_seconds for exchange in ordered],
        "itls": [exchange.itl_seconds for exchange in ordered],
        "generated_texts": [exchange.text for exchange in ordered],
        "errors": [exchange.error for exchange in ordered],
    }
