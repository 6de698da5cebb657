"""The axis of time below a panel."""

import math
from datetime import UTC, datetime

from deploy.grafana.drawing.canvas import Box, Canvas
from deploy.grafana.drawing.prometheus import Window
from deploy.grafana.drawing.theme import GRID, SMALL, SOFT

LABEL_PIXELS = 80
STEPS_SECONDS = (5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21600, 43200, 86400)
MINUTE = 60


def draw_time_axis(canvas: Canvas, chart: Box, window: Window) -> None:
    """Write times below a chart, in UTC, with a line up from each."""
    length = window.end_seconds - window.start_seconds
    rough = length / max(1.0, chart.width / LABEL_PIXELS)
    step = next((each for each in STEPS_SECONDS if each >= rough), STEPS_SECONDS[-1])
    form = "%H:%M" if step >= MINUTE else "%H:%M:%S"
    time = math.ceil(window.start_seconds / step) * step
    while time <= window.end_seconds:
        x = chart.left + (time - window.start_seconds) / length * chart.width
        canvas.line([(x, chart.top), (x, chart.bottom)], GRID)
        text = datetime.fromtimestamp(time, UTC).strftime(form)
        if x - chart.left > LABEL_PIXELS / 4 and chart.right - x > LABEL_PIXELS / 4:
            canvas.text((x, chart.bottom + 6), text, SMALL, SOFT, "ma")
        time += step
