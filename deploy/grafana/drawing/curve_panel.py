"""Draws lines over time: axes at round values, a grid, fills, stacks, a legend with last values."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from deploy.grafana.drawing.answers import Named
from deploy.grafana.drawing.canvas import Box, Canvas, Point, shortened, text_width
from deploy.grafana.drawing.document import Panel
from deploy.grafana.drawing.prometheus import Window
from deploy.grafana.drawing.theme import BRIGHT, GRID, INK, SMALL, SOFT, Colour, colour_of, palette
from deploy.grafana.drawing.time_axis import draw_time_axis
from deploy.grafana.drawing.units import text_of, ticks

TICK_PIXELS = 34
LEGEND_LINE, LEGEND_GAP, SWATCH = 17, 14, 12
MAX_LEGEND_LINES = 3
AXIS_BOTTOM = 20
HEADROOM = 1.08
LINE_WIDTH = 1.6


@dataclass(frozen=True, slots=True)
class Curve:
    """A series ready to be drawn.

    Attributes:
        answer: Its name and values.
        colour: Of the line.
        tops: Where the line goes: the value, or what it is stacked to.
        floors: What it stands on.
    """

    answer: Named
    colour: Colour
    tops: tuple[float, ...]
    floors: tuple[float, ...]


def draw_curves(
    canvas: Canvas, box: Box, panel: Panel, answers: Sequence[Named], window: Window
) -> None:
    """Draw a panel of the kind `timeseries` into a box."""
    curves = _curves(panel, [answer for answer in answers if answer.last is not None])
    legend_lines = _legend_lines(curves, panel, box.width)
    chart = box.inside(bottom=AXIS_BOTTOM + 4 + LEGEND_LINE * len(legend_lines))
    marks = _marks(panel, curves, chart)
    texts = [text_of(mark, panel.unit) for mark in marks]
    left = max(text_width(text, SMALL) for text in texts) + 10
    chart = chart.inside(left=left)
    for mark, text in zip(marks, texts, strict=True):
        y = chart.bottom - mark / marks[-1] * chart.height
        canvas.line([(chart.left, y), (chart.right, y)], GRID)
        canvas.text((chart.left - 6, y), text, SMALL, SOFT, "rm")
    draw_time_axis(canvas, chart, window)
    for curve in reversed(curves) if panel.is_stacked else curves:
        _draw_curve(canvas, chart, panel, curve, (window, marks[-1]))
    _draw_legend(canvas, box, legend_lines, panel)


def _curves(panel: Panel, answers: Sequence[Named]) -> list[Curve]:
    curves: list[Curve] = []
    below: dict[float, float] = {}
    for index, answer in enumerate(answers):
        series = answer.series
        floors = tuple(below.get(time, 0.0) for time in series.times)
        tops = series.values
        if panel.is_stacked:
            tops = tuple(value + floor for value, floor in zip(tops, floors, strict=True))
            pairs = zip(series.times, tops, strict=True)
            below.update({time: top for time, top in pairs if math.isfinite(top)})
        fixed = panel.colours.get(answer.name)
        colour = palette(index) if fixed is None else colour_of(fixed)
        curves.append(Curve(answer, colour, tops, floors))
    return curves


def _marks(panel: Panel, curves: Sequence[Curve], chart: Box) -> list[float]:
    most = max(2, int(chart.height // TICK_PIXELS))
    if panel.highest is not None:
        return ticks(panel.highest, panel.unit, most)
    finite = [top for curve in curves for top in curve.tops if math.isfinite(top)]
    highest = max(finite, default=0.0)
    return ticks(highest * HEADROOM if highest > 0 else 1.0, panel.unit, most)


def _draw_curve(
    canvas: Canvas, chart: Box, panel: Panel, curve: Curve, scale: tuple[Window, float]
) -> None:
    window, highest = scale
    length = window.end_seconds - window.start_seconds

    def at(time: float, value: float) -> Point:
        x = chart.left + (time - window.start_seconds) / length * chart.width
        return x, chart.bottom - min(max(value, 0.0), highest) / highest * chart.height

    for part in _unbroken(curve, window.step_seconds):
        tops = [at(time, top) for time, top, _ in part]
        if panel.fill and len(part) > 1:
            floors = [at(time, floor) for time, _, floor in reversed(part)]
            canvas.area([*tops, *floors], curve.colour, panel.fill)
        if len(part) > 1:
            canvas.line(tops, curve.colour, LINE_WIDTH)
        else:
            x, y = tops[0]
            canvas.rectangle(Box(x - 1.5, y - 1.5, x + 1.5, y + 1.5), curve.colour)


def _unbroken(curve: Curve, step_seconds: float) -> list[list[tuple[float, float, float]]]:
    """Its points, cut where values are missing."""
    parts: list[list[tuple[float, float, float]]] = []
    last = -math.inf
    for point in zip(curve.answer.series.times, curve.tops, curve.floors, strict=True):
        if not math.isfinite(point[1]):
            continue
        if point[0] - last > 1.5 * step_seconds:
            parts.append([])
        parts[-1].append(point)
        last = point[0]
    return parts


def _legend_lines(curves: Sequence[Curve], panel: Panel, width: float) -> list[list[Curve]]:
    lines: list[list[Curve]] = []
    left = 0.0
    for curve in curves:
        needed = _entry_width(curve, panel)
        if not lines or left + needed > width:
            lines.append([])
            left = 0.0
        lines[-1].append(curve)
        left += needed + LEGEND_GAP
    return lines[:MAX_LEGEND_LINES]


def _entry_width(curve: Curve, panel: Panel) -> float:
    texts = (curve.answer.name, _last_text(curve, panel))
    return SWATCH + 6 + sum(text_width(text, SMALL) for text in texts) + 5


def _draw_legend(canvas: Canvas, box: Box, lines: list[list[Curve]], panel: Panel) -> None:
    top = box.bottom - LEGEND_LINE * len(lines)
    for index, line in enumerate(lines):
        left, middle = box.left, top + (index + 0.5) * LEGEND_LINE
        for curve in line:
            swatch = Box(left, middle - 1.5, left + SWATCH, middle + 1.5)
            canvas.rectangle(swatch, curve.colour, radius=1)
            name = shortened(curve.answer.name, SMALL, box.width - SWATCH - 60)
            start = left + SWATCH + 6
            canvas.text((start, middle), name, SMALL, INK, "lm")
            start += text_width(name, SMALL) + 5
            canvas.text((start, middle), _last_text(curve, panel), SMALL, BRIGHT, "lm")
            left += _entry_width(curve, panel) + LEGEND_GAP


def _last_text(curve: Curve, panel: Panel) -> str:
    return text_of(curve.answer.last or 0.0, panel.unit)
