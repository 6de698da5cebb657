"""A load on one sheet: how times are spread, how rates went, where the time went."""

from collections.abc import Sequence
from dataclasses import asdict

from PIL import Image

from deploy.bench.charts import BLUE, ORANGE, Bar, Mark, draw_bars, draw_histogram, draw_series
from deploy.bench.exchange import Exchange
from deploy.bench.options import BenchOptions
from deploy.bench.report import STAGE_NAMES
from deploy.bench.summary import Distribution, Summary
from deploy.paper import GREY, INK, Box, Colour, Paper

WIDTH, HEIGHT = 1500, 1010
MARGIN, GAP = 44, 56
HEADLINE, SUBTITLE = 28, 17
TOPS = (132, 430, 728)
PANEL_HEIGHT = 240
NUM_STEPS = 60
LANGUAGE: Colour = (38, 150, 92)
TRANSFER: Colour = (214, 164, 18)
WAITING: Colour = (150, 154, 163)
STAGE_COLOURS = {"queue": WAITING, "transfer": TRANSFER, "prefill": LANGUAGE, "decode": LANGUAGE}


def draw_plot(
    options: BenchOptions, model_name: str, summary: Summary, exchanges: Sequence[Exchange]
) -> Image.Image:
    """Draw the sheet.

    Args:
        options: How the load was asked for.
        model_name: What was served.
        summary: What it came to.
        exchanges: All requests.
    """
    paper = Paper(WIDTH, HEIGHT)
    _headline(paper, options, model_name, summary)
    _spreads(paper, summary, [exchange for exchange in exchanges if exchange.is_answered])
    _courses(paper, summary, exchanges)
    _parts(paper, summary)
    return paper.image


def tokens_per_second(exchanges: Sequence[Exchange], seconds: float) -> list[float]:
    """Rate of output tokens in equal steps from the first sending on, over this many seconds."""
    step = seconds / NUM_STEPS
    counts = [0.0] * NUM_STEPS
    if step <= 0:
        return counts
    first = min(exchange.sent_at_seconds for exchange in exchanges)
    for exchange in exchanges:
        for share in exchange.token_shares:
            index = min(int((share.at_seconds - first) / step), NUM_STEPS - 1)
            counts[index] += share.num_tokens / step
    return counts


def under_way(exchanges: Sequence[Exchange], seconds: float) -> list[float]:
    """Mean number of requests under way in the same steps."""
    step = seconds / NUM_STEPS
    means = [0.0] * NUM_STEPS
    if step <= 0:
        return means
    first = min(exchange.sent_at_seconds for exchange in exchanges)
    for exchange in exchanges:
        sent, ended = exchange.sent_at_seconds - first, exchange.ended_at_seconds - first
        for index in range(int(sent / step), min(int(ended / step) + 1, NUM_STEPS)):
            overlap = min(ended, (index + 1) * step) - max(sent, index * step)
            means[index] += max(overlap, 0.0) / step
    return means


def _headline(paper: Paper, options: BenchOptions, model_name: str, summary: Summary) -> None:
    paper.text(f"{model_name} over {options.backend}", (MARGIN, 34), HEADLINE, "la")
    rates = [
        f"{summary.completed} answered, {summary.failed} failed",
        f"{summary.duration_seconds:.1f} s",
        f"{summary.per_second(summary.completed):.4g} requests/s",
        f"{summary.per_second(summary.tokens.output):.4g} tokens/s",
    ]
    if summary.num_pictures:
        rates.append(f"{summary.per_second(summary.num_pictures):.4g} pictures/s")
    if summary.met_objectives is not None:
        rates.append(f"goodput {summary.per_second(summary.met_objectives):.4g}/s")
    paper.text("   |   ".join(rates), (MARGIN, 78), SUBTITLE, "la", GREY)


def _spreads(paper: Paper, summary: Summary, answered: Sequence[Exchange]) -> None:
    boxes = _row(0, 3)
    values = [exchange.ttft_seconds for exchange in answered]
    _spread(paper, boxes[0], "Time to first token", values, summary.ttft)
    values = [gap for exchange in answered for gap in exchange.itl_seconds]
    _spread(paper, boxes[1], "Time between tokens", values, summary.itl)
    values = [exchange.e2el_seconds for exchange in answered]
    _spread(paper, boxes[2], "End to end", values, summary.e2el)


def _spread(
    paper: Paper, box: Box, title: str, seconds: Sequence[float], times: Distribution
) -> None:
    marks = [Mark("median", times.median_ms, INK)]
    if times.percentiles:
        last = times.percentiles[-1]
        marks.append(Mark(f"p{last.percent:g}", last.value_ms, ORANGE))
    draw_histogram(paper, box, title, [1000 * each for each in seconds], marks)


def _courses(paper: Paper, summary: Summary, exchanges: Sequence[Exchange]) -> None:
    seconds = summary.duration_seconds
    left, right = _row(1, 2)
    rates = tokens_per_second(exchanges, seconds)
    draw_series(paper, left, "Output tokens per second", rates, seconds)
    draw_series(paper, right, "Requests under way", under_way(exchanges, seconds), seconds)


def _parts(paper: Paper, summary: Summary) -> None:
    left, right = _row(2, 2)
    if summary.stages is not None:
        bars = [
            Bar(STAGE_NAMES[name], s, f"{1000 * s:.1f} ms", STAGE_COLOURS.get(name, BLUE))
            for name, s in asdict(summary.stages).items()
        ]
        draw_bars(paper, left, "Stages of an answer, mean; they overlap", bars)
    if summary.tokens.visual_before:
        tokens = summary.tokens
        saved = f"{tokens.visual:,}  (-{1 - tokens.visual / tokens.visual_before:.0%})"
        bars = [
            Bar("before", tokens.visual_before, f"{tokens.visual_before:,}", WAITING),
            Bar("sent", tokens.visual, saved, BLUE),
            Bar("compressed", 0, f"{tokens.compressed_tiles:,} of {tokens.tiles:,} tiles", ORANGE),
        ]
        draw_bars(paper, right, "Visual tokens", bars)


def _row(index: int, columns: int) -> list[Box]:
    """Boxes side by side."""
    width = (WIDTH - 2 * MARGIN - (columns - 1) * GAP) // columns
    lefts = [MARGIN + column * (width + GAP) for column in range(columns)]
    top = TOPS[index]
    return [Box(left, top, left + width, top + PANEL_HEIGHT) for left in lefts]
