"""How an answer looks in a terminal: tiles, tokens before and after, where the time went."""

from collections.abc import Iterable
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table
from rich.text import Text

from protos.dvd.v1 import inference_pb2

BAR_CHARACTERS = 48


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of the bar.

    Attributes:
        name: As shown.
        color: Of its part of the bar.
        seconds: How long it took.
    """

    name: str
    color: str
    seconds: float


def stages(timings: inference_pb2.StageTimings) -> list[Stage]:
    """List the stages in the order of a request's life."""
    return [
        Stage("queue", "bright_black", timings.queue_seconds),
        Stage("decode+tile", "cyan", timings.preprocess_seconds),
        Stage("ViT", "blue", timings.vit_seconds),
        Stage("gate", "magenta", timings.gate_seconds),
        Stage("project", "bright_blue", timings.project_seconds),
        Stage("transfer", "yellow", timings.transfer_seconds),
        Stage("prefill", "green", timings.prefill_seconds),
        Stage("decode", "bright_green", timings.decode_seconds),
    ]


def print_usage(console: Console, finished: inference_pb2.GenerateFinished) -> None:
    """Show what an answer used and where its time went."""
    for number, image in enumerate(finished.images, start=1):
        console.print(_picture_line(number, image))
    usage = finished.usage
    console.print(
        f"[dim]visual tokens[/dim] {usage.visual_tokens_before_resolution} → "
        f"[bold]{usage.visual_tokens}[/bold]{_saved(usage)}"
        f"   [dim]text tokens[/dim] {usage.text_tokens}"
        f"   [dim]answer tokens[/dim] {usage.completion_tokens}"
    )
    if finished.resolution.raised_for_load:
        console.print("[dim]more was compressed than asked for, because the server is busy[/dim]")
    timings = finished.timings
    parts = stages(timings)
    console.print(_bar(parts))
    console.print(_legend(parts))
    console.print(
        f"[dim]first token after[/dim] {_ms(timings.time_to_first_token_seconds)}"
        f"   [dim]all after[/dim] {_ms(timings.total_seconds)}"
    )


def print_stage_table(console: Console, rows: Iterable[inference_pb2.GenerateFinished]) -> None:
    """Show the mean time of every stage over several answers."""
    answers = list(rows)
    table = Table(title="Where the time went, mean per answer", title_justify="left")
    table.add_column("stage")
    table.add_column("milliseconds", justify="right")
    by_answer = [stages(answer.timings) for answer in answers]
    for column in zip(*by_answer, strict=True):
        mean = sum(stage.seconds for stage in column) / len(column)
        table.add_row(Text(column[0].name, style=column[0].color), f"{1000 * mean:.1f}")
    console.print(table)


def _picture_line(number: int, image: inference_pb2.ImageResolution) -> Text:
    """Draw one square a tile, row by row: full for full resolution, empty for compressed."""
    line = Text(f"picture {number}: {image.columns} x {image.rows} tiles")
    line.append(" + thumbnail  " if image.has_thumbnail else "  ")
    for position, compressed in enumerate(image.compressed):
        if position and position % image.columns == 0:
            line.append(" ")
        line.append("□" if compressed else "■", style="yellow" if compressed else "blue")
    num_compressed = sum(image.compressed)
    line.append(f"  {len(image.compressed) - num_compressed} full, {num_compressed} compressed")
    return line


def _saved(usage: inference_pb2.Usage) -> str:
    before, after = usage.visual_tokens_before_resolution, usage.visual_tokens
    return f" (-{1 - after / before:.0%})" if after < before else ""


def _bar(parts: list[Stage]) -> Text:
    total = sum(part.seconds for part in parts) or 1.0
    bar = Text()
    for part in parts:
        bar.append("█" * round(BAR_CHARACTERS * part.seconds / total), style=part.color)
    return bar


def _legend(parts: list[Stage]) -> Text:
    legend = Text()
    for part in parts:
        legend.append("■\N{NO-BREAK SPACE}", style=part.color)
        legend.append(f"{part.name} {_ms(part.seconds)}".replace(" ", "\N{NO-BREAK SPACE}") + "  ")
    return legend


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:.0f} ms" if seconds < 10 else f"{seconds:.1f} s"
