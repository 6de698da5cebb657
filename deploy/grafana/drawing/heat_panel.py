"""Draws a histogram over time: a cell for each bucket and step, brighter where it was hit more."""

import math
from collections.abc import Sequence

from deploy.grafana.drawing.answers import Named
from deploy.grafana.drawing.canvas import Box, Canvas, text_width
from deploy.grafana.drawing.document import Panel
from deploy.grafana.drawing.prometheus import Window
from deploy.grafana.drawing.theme import SMALL, SOFT, SURFACE, Colour, mixed
from deploy.grafana.drawing.time_axis import draw_time_axis
from deploy.grafana.drawing.units import text_of

DARK: Colour = (92, 45, 8)
LIGHT: Colour = (255, 196, 120)
EXPONENT = 0.5
AXIS_BOTTOM = 20
CELL_PIXELS = 7.0
LABEL_PIXELS = 16
Row = tuple[float, dict[float, float]]  # a bucket's upper bound; by time how often it was hit


def draw_heat(
    canvas: Canvas, box: Box, panel: Panel, answers: Sequence[Named], window: Window
) -> None:
    """Draw a panel of the kind `heatmap` into a box."""
    rows = _used(_rows(answers))
    if not rows:
        return
    texts = [text_of(bound, panel.unit) for bound, _ in rows]
    chart = box.inside(left=max(text_width(text, SMALL) for text in texts) + 10, bottom=AXIS_BOTTOM)
    draw_time_axis(canvas, chart, window)
    height = chart.height / len(rows)
    skip = max(1, math.ceil(LABEL_PIXELS / height))
    for index, ((_, hits), text) in enumerate(zip(rows, texts, strict=True)):
        top = chart.bottom - (index + 1) * height
        _draw_row(
            canvas, Box(chart.left, top, chart.right, top + height), hits, _most(rows), window
        )
        if index % skip == 0:
            canvas.text((chart.left - 6, top + height / 2), text, SMALL, SOFT, "rm")


def _draw_row(
    canvas: Canvas, band: Box, hits: dict[float, float], most: float, window: Window
) -> None:
    length = window.end_seconds - window.start_seconds
    columns = max(1, int(band.width // CELL_PIXELS))
    width = band.width / columns
    cells = [0.0] * columns
    for time, value in hits.items():
        column = int((time - window.start_seconds) / length * columns)
        cells[min(max(column, 0), columns - 1)] = max(value, cells[min(column, columns - 1)])
    for column, value in enumerate(cells):
        left = band.left + column * width
        cell = Box(left + 0.5, band.top + 0.5, left + width - 0.5, band.bottom - 0.5)
        if value > 0:
            canvas.rectangle(cell, mixed(DARK, LIGHT, (value / most) ** EXPONENT))
        else:
            canvas.rectangle(cell, SURFACE)


def _rows(answers: Sequence[Named]) -> list[Row]:
    """Buckets one by one, from cumulative ones."""
    cumulative: list[Row] = sorted(
        (
            (float(answer.series.labels["le"]), _by_time(answer))
            for answer in answers
            if math.isfinite(float(answer.series.labels["le"]))
        ),
        key=lambda row: row[0],
    )
    rows: list[Row] = []
    below: dict[float, float] = {}
    for bound, hits in cumulative:
        rows.append((bound, {time: hit - below.get(time, 0.0) for time, hit in hits.items()}))
        below = hits
    return rows


def _by_time(answer: Named) -> dict[float, float]:
    pairs = zip(answer.series.times, answer.series.values, strict=True)
    return {time: value for time, value in pairs if math.isfinite(value)}


def _used(rows: list[Row]) -> list[Row]:
    """From the first bucket that was ever hit to the last, with one on each side."""
    hit = [index for index, (_, hits) in enumerate(rows) if any(each > 0 for each in hits.values())]
    return rows[max(0, hit[0] - 1) : hit[-1] + 2] if hit else []


def _most(rows: list[Row]) -> float:
    return max(value for _, hits in rows for value in hits.values())
