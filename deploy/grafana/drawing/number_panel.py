"""Draws one big number a series, with its course behind it."""

import math
from collections.abc import Sequence

from deploy.grafana.drawing.answers import Named
from deploy.grafana.drawing.canvas import Box, Canvas, shortened, text_width
from deploy.grafana.drawing.document import Panel
from deploy.grafana.drawing.prometheus import Window
from deploy.grafana.drawing.theme import SMALL, SOFT, stepped
from deploy.grafana.drawing.units import text_of

LARGEST, SMALLEST = 40.0, 14.0
COURSE_SHARE = 0.3  # of the height


def draw_numbers(
    canvas: Canvas, box: Box, panel: Panel, answers: Sequence[Named], window: Window
) -> None:
    """Draw a panel of the kind `stat` into a box; several series stand beside each other."""
    known = [answer for answer in answers if answer.last is not None]
    width = box.width / max(1, len(known))
    for index, answer in enumerate(known):
        left = box.left + index * width
        _draw_number(canvas, Box(left, box.top, left + width, box.bottom), panel, answer, window)
        if len(known) > 1:
            name = shortened(answer.name, SMALL, width - 8)
            canvas.text((left + width / 2, box.top), name, SMALL, SOFT, "ma")


def _draw_number(canvas: Canvas, box: Box, panel: Panel, answer: Named, window: Window) -> None:
    value = answer.last or 0.0
    colour = stepped(value, panel.steps)
    series = answer.series
    points = [
        (time, value)
        for time, value in zip(series.times, series.values, strict=True)
        if math.isfinite(value)
    ]
    highest = max((value for _, value in points), default=0.0)
    if highest > 0 and len(points) > 1:
        length = window.end_seconds - window.start_seconds
        course = [
            (
                box.left + (time - window.start_seconds) / length * box.width,
                box.bottom - max(value, 0.0) / highest * box.height * COURSE_SHARE,
            )
            for time, value in points
        ]
        ends = [(course[-1][0], box.bottom), (course[0][0], box.bottom)]
        canvas.area([*course, *ends], colour, 0.16)
        canvas.line(course, colour, 1.2)
    text = text_of(value, panel.unit, panel.decimals)
    size = min(LARGEST, box.height * 0.5)
    while size > SMALLEST and text_width(text, size) > box.width - 16:
        size -= 1
    middle = (box.left + box.width / 2, box.top + box.height * 0.36)
    canvas.text(middle, text, size, colour, "mm", is_bold=True)
