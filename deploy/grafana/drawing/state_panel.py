"""Draws a band over time for each series, coloured by the state that its value stands for."""

import math
from collections.abc import Sequence
from itertools import groupby

from deploy.grafana.drawing.answers import Named
from deploy.grafana.drawing.canvas import Box, Canvas, text_width
from deploy.grafana.drawing.document import Panel, Shown
from deploy.grafana.drawing.prometheus import Window
from deploy.grafana.drawing.theme import INK, PAGE, SMALL, SOFT, TEXT, colour_of
from deploy.grafana.drawing.time_axis import draw_time_axis

AXIS_BOTTOM, LEGEND, SWATCH = 20, 20, 9
BAND_SHARE = 0.8
LARGEST_ROW = 44.0


def draw_states(
    canvas: Canvas, box: Box, panel: Panel, answers: Sequence[Named], window: Window
) -> None:
    """Draw a panel of the kind `state-timeline` into a box."""
    known = [answer for answer in answers if answer.last is not None]
    if not known:
        return
    left = max(text_width(answer.name, TEXT) for answer in known) + 12
    chart = box.inside(left=left, bottom=AXIS_BOTTOM + LEGEND)
    height = min(LARGEST_ROW, chart.height / len(known))
    chart = Box(chart.left, chart.top, chart.right, chart.top + height * len(known))
    draw_time_axis(canvas, chart, window)
    for index, answer in enumerate(known):
        middle = chart.top + (index + 0.5) * height
        canvas.text((chart.left - 8, middle), answer.name, TEXT, INK, "rm")
        half = height * BAND_SHARE / 2
        band = Box(chart.left, middle - half, chart.right, middle + half)
        _draw_band(canvas, band, panel, answer, window)
    _draw_legend(canvas, box, panel)


def _draw_band(canvas: Canvas, band: Box, panel: Panel, answer: Named, window: Window) -> None:
    length = window.end_seconds - window.start_seconds
    series = answer.series
    finite = [
        (time, round(value))
        for time, value in zip(series.times, series.values, strict=True)
        if math.isfinite(value)
    ]
    for state, group in groupby(finite, key=lambda each: each[1]):
        times = [time for time, _ in group]
        start = band.left + (times[0] - window.start_seconds) / length * band.width
        end = times[-1] + window.step_seconds - window.start_seconds
        shown = panel.shown.get(state, Shown(str(state), "text"))
        part = Box(
            start, band.top, min(band.right, band.left + end / length * band.width), band.bottom
        )
        canvas.rectangle(part, colour_of(shown.colour), 0.8)
        if text_width(shown.text, SMALL) + 10 < part.width:
            middle = ((part.left + part.right) / 2, (part.top + part.bottom) / 2)
            canvas.text(middle, shown.text, SMALL, PAGE, "mm", is_bold=True)


def _draw_legend(canvas: Canvas, box: Box, panel: Panel) -> None:
    left, middle = box.left, box.bottom - LEGEND / 2
    for shown in panel.shown.values():
        swatch = Box(left, middle - SWATCH / 2, left + SWATCH, middle + SWATCH / 2)
        canvas.rectangle(swatch, colour_of(shown.colour), radius=2)
        canvas.text((left + SWATCH + 5, middle), shown.text, SMALL, SOFT, "lm")
        left += SWATCH + 5 + text_width(shown.text, SMALL) + 16
