"""The ablation's rows as one table, narrow enough for a terminal."""

from collections.abc import Sequence
from typing import Any

from rich import box
from rich.table import Table

Row = dict[str, Any]
COLUMNS = (
    "arm",
    "requests/s",
    "× coupled",
    "goodput/s",
    "TTFT ms",
    "ITL ms",
    "CPU ms",
    "paper ×",
)


def table_of(rows: Sequence[Row]) -> Table:
    """Draw one table of all rows, a section for each kind of request.

    Args:
        rows: Of `AblationReport.rows`.
    """
    title = "Two threads each; times are p50 and p99; paper × is at unequal hardware (38B, 241B)"
    table = Table(*COLUMNS, title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1))
    for column in table.columns:
        column.no_wrap, column.overflow = True, "ignore"
        column.justify = "left" if column is table.columns[0] else "right"
    heading = ""
    for row in rows:
        asked = f"{row['tiles']} tiles, {row['output']} tokens"
        if asked != heading:
            table.add_section()
            table.add_row(f"[bold]{asked}")
            heading = asked
        table.add_row(*_cells(row))
    return table


def shares_of(rows: Sequence[Row]) -> list[str]:
    """Sentences on where the CPU time of a request goes, by kind of request."""
    return [
        f"{row['tiles']} tiles, {row['output']} tokens, {row['arm']}: ViT : prefill : decode = "
        f"{row['ViT : prefill : decode']} %, {100 * row['compressed']:.0f} % of tiles compressed"
        for row in rows
        if row["ViT : prefill : decode"]
    ]


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row["arm"],
        f"{row['requests/s']:.2f} ({row['spread']})",
        f"{row['vs coupled']:.2f}",
        f"{row['goodput/s']:.2f}",
        f"{_ms(row['ttft p50 ms'])} {_ms(row['ttft p99 ms'])}",
        f"{_ms(row['itl p50 ms'])} {_ms(row['itl p99 ms'])}",
        row["cpu ms/request"],
        row["paper, unequal hardware (38B, 241B)"] or "",
    )


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"
