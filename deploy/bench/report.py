"""A load as a block of text, in the form that users of other load generators know."""

from dataclasses import asdict

from deploy.bench.options import BenchOptions
from deploy.bench.summary import Distribution, Summary

WIDTH = 50
NAME_WIDTH = 41
TITLES = (
    ("Time to First Token", "TTFT"),
    ("Time per Output Token (excl. 1st token)", "TPOT"),
    ("Inter-token Latency", "ITL"),
    ("End-to-end Latency", "E2EL"),
)
STAGE_NAMES = {
    "queue": "Queue",
    "preprocess": "Decode and tile",
    "vit": "ViT",
    "gate": "Gate",
    "project": "Project",
    "transfer": "Transfer",
    "prefill": "Prefill",
    "decode": "Decode",
}


def block(options: BenchOptions, summary: Summary) -> str:
    """Write the block, lines of at most 50 characters or so."""
    lines = [
        " Serving Benchmark Result ".center(WIDTH, "="),
        *_counts(options, summary),
        *_rates(summary),
    ]
    all_times = (summary.ttft, summary.tpot, summary.itl, summary.e2el)
    for (title, short), times in zip(TITLES, all_times, strict=True):
        lines += [title.center(WIDTH, "-"), *_times(short, times)]
    if summary.num_pictures:
        lines += [" Pictures ".center(WIDTH, "-"), *_pictures(summary)]
    if summary.stages is not None:
        lines.append(" Stages, mean; they overlap ".center(WIDTH, "-"))
        for name, seconds in asdict(summary.stages).items():
            lines.append(_line(f"{STAGE_NAMES[name]} (ms):", 1000 * seconds))
    return "\n".join([*lines, "=" * WIDTH])


def _counts(options: BenchOptions, summary: Summary) -> list[str]:
    lines = [
        _line("Successful requests:", summary.completed),
        _line("Failed requests:", summary.failed),
        *(_line(f"  {error.code}:", error.count) for error in summary.errors),
    ]
    if summary.cut_off:
        lines.append(_line("Cut off requests:", summary.cut_off))
    if summary.retries:
        lines.append(_line("Retries:", summary.retries))
    if options.max_concurrency is not None:
        lines.append(_line("Maximum request concurrency:", options.max_concurrency))
    if options.request_rate != float("inf"):
        lines.append(_line("Request rate configured (RPS):", options.request_rate))
    return lines


def _rates(summary: Summary) -> list[str]:
    tokens = summary.tokens
    lines = [
        _line("Benchmark duration (s):", summary.duration_seconds),
        _line("Total input tokens:", tokens.prompt),
        _line("Total generated tokens:", tokens.output),
        _line("Request throughput (req/s):", summary.per_second(summary.completed)),
    ]
    if summary.met_objectives is not None:
        lines.append(_line("Request goodput (req/s):", summary.per_second(summary.met_objectives)))
    return [
        *lines,
        _line("Output token throughput (tok/s):", summary.per_second(tokens.output)),
        _line("Peak output token throughput (tok/s):", summary.peak_output_tokens),
        _line("Peak concurrent requests:", summary.peak_concurrency),
        _line("Total token throughput (tok/s):", summary.per_second(tokens.prompt + tokens.output)),
    ]


def _times(name: str, times: Distribution) -> list[str]:
    return [
        _line(f"Mean {name} (ms):", times.mean_ms),
        _line(f"Median {name} (ms):", times.median_ms),
        *(_line(f"P{each.percent:g} {name} (ms):", each.value_ms) for each in times.percentiles),
    ]


def _pictures(summary: Summary) -> list[str]:
    tokens = summary.tokens
    saved = 1 - tokens.visual / tokens.visual_before if tokens.visual_before else 0.0
    return [
        _line("Pictures:", summary.num_pictures),
        _line("Pictures seen before:", summary.num_repeated),
        _line("Picture throughput (pictures/s):", summary.per_second(summary.num_pictures)),
        _line("Tiles:", tokens.tiles),
        _line("Tiles compressed:", tokens.compressed_tiles),
        _line("Visual tokens before compression:", tokens.visual_before),
        _line("Visual tokens sent:", tokens.visual),
        _line("Visual tokens saved (%):", 100 * saved),
    ]


def _line(name: str, value: float) -> str:
    shown = str(value) if isinstance(value, int) else f"{value:.2f}"
    return f"{name:<{NAME_WIDTH}}{shown}"
