"""Draws a whole dashboard: its head, its rows, every panel where Grafana's grid has it."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from PIL import Image

from deploy.grafana.drawing.answers import Asking, Named, has_data
from deploy.grafana.drawing.bar_panel import draw_bars
from deploy.grafana.drawing.canvas import Box, Canvas, shortened, text_width
from deploy.grafana.drawing.curve_panel import draw_curves
from deploy.grafana.drawing.document import Dashboard, Panel
from deploy.grafana.drawing.heat_panel import draw_heat
from deploy.grafana.drawing.number_panel import draw_numbers
from deploy.grafana.drawing.state_panel import draw_states
from deploy.grafana.drawing.theme import (
    EDGE,
    HEADLINE,
    INK,
    PAGE,
    SOFT,
    SURFACE,
    TEXT,
    TITLE,
)  # fmt: skip

COLUMN, ROW, GAP = 62, 38, 8
COLUMNS = 24
MARGIN, HEAD = 16, 92
PAD, PANEL_HEAD = 12, 30
WIDTH = 2 * MARGIN + COLUMNS * COLUMN - GAP
ROW_KIND = "row"
NO_DATA = "No data"


def draw_dashboard(
    dashboard: Dashboard, answers: Mapping[int, Sequence[Named]], asking: Asking
) -> Image.Image:
    """Draw a dashboard.

    Args:
        dashboard: What is drawn.
        answers: For each panel, by its place in the dashboard.
        asking: What was asked for.
    """
    bottom = max(panel.place.top + panel.place.height for panel in dashboard.panels)
    canvas = Canvas(WIDTH, HEAD + bottom * ROW + MARGIN)
    _draw_head(canvas, dashboard, asking)
    for index, panel in enumerate(dashboard.panels):
        if panel.kind == ROW_KIND:
            _draw_heading(canvas, panel)
        else:
            _draw_panel(canvas, panel, list(answers.get(index, ())), asking)
    return canvas.picture()


def _box(panel: Panel) -> Box:
    left = MARGIN + panel.place.left * COLUMN
    top = HEAD + panel.place.top * ROW
    right, bottom = left + panel.place.width * COLUMN, top + panel.place.height * ROW
    return Box(left, top, right - GAP, bottom - GAP)


def _draw_head(canvas: Canvas, dashboard: Dashboard, asking: Asking) -> None:
    middle = 26
    canvas.text((MARGIN, middle), dashboard.title, HEADLINE, INK, "lm", is_bold=True)
    window = asking.window
    start, end = (
        datetime.fromtimestamp(seconds, UTC)
        for seconds in (window.start_seconds, window.end_seconds)
    )
    text = f"{start:%Y-%m-%d %H:%M:%S} to {end:%H:%M:%S} UTC"
    width = text_width(text, TEXT) + 20
    box = Box(WIDTH - MARGIN - width, middle - 14, WIDTH - MARGIN, middle + 14)
    canvas.rectangle(box, SURFACE, edge=EDGE, radius=3)
    canvas.text((box.left + 10, middle), text, TEXT, INK, "lm")
    left, middle = float(MARGIN), 66
    for name, label in dashboard.variables.items():
        value = asking.chosen.get(name, "All")
        split, end_x = left + text_width(label, TEXT) + 18, 0.0
        end_x = split + text_width(value, TEXT) + 24
        canvas.rectangle(Box(left, middle - 13, end_x, middle + 13), PAGE, edge=EDGE, radius=3)
        canvas.rectangle(Box(left, middle - 13, split, middle + 13), SURFACE, edge=EDGE, radius=3)
        canvas.text((left + 9, middle), label, TEXT, SOFT, "lm")
        canvas.text((split + 12, middle), value, TEXT, INK, "lm")
        left = end_x + 10


def _draw_heading(canvas: Canvas, panel: Panel) -> None:
    box = _box(panel)
    middle = box.top + box.height / 2 + 2
    arrow = [(box.left + 2, middle - 3), (box.left + 7, middle + 2), (box.left + 12, middle - 3)]
    canvas.line(arrow, SOFT, 1.5)
    canvas.text((box.left + 20, middle), panel.title, TITLE, INK, "lm", is_bold=True)


def _draw_panel(canvas: Canvas, panel: Panel, answers: list[Named], asking: Asking) -> None:
    box = _box(panel)
    canvas.rectangle(box, SURFACE, edge=EDGE, radius=3)
    title = shortened(panel.title, TITLE, box.width - 2 * PAD)
    canvas.text((box.left + PAD, box.top + PANEL_HEAD / 2 + 1), title, TITLE, INK, "lm")
    inner = box.inside(PAD, PANEL_HEAD + 4, PAD, PAD - 4)
    if not has_data(answers):
        middle = ((inner.left + inner.right) / 2, (inner.top + inner.bottom) / 2)
        canvas.text(middle, NO_DATA, TITLE, SOFT, "mm")
    elif panel.kind == "stat":
        draw_numbers(canvas, inner, panel, answers, asking.window)
    elif panel.kind == "bargauge":
        draw_bars(canvas, inner, panel, answers)
    elif panel.kind == "heatmap":
        draw_heat(canvas, inner, panel, answers, asking.window)
    elif panel.kind == "state-timeline":
        draw_states(canvas, inner, panel, answers, asking.window)
    else:
        draw_curves(canvas, inner, panel, answers, asking.window)
