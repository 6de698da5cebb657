"""Draws a bar for each series, as long as its last value."""

from collections.abc import Sequence

from deploy.grafana.drawing.answers import Named
from deploy.grafana.drawing.canvas import Box, Canvas, shortened, text_width
from deploy.grafana.drawing.document import Panel
from deploy.grafana.drawing.theme import INK, TEXT, UNFILLED, stepped
from deploy.grafana.drawing.units import text_of

LARGEST_BAR, GAP = 34.0, 8.0
NAME_SHARE = 0.4


def draw_bars(canvas: Canvas, box: Box, panel: Panel, answers: Sequence[Named]) -> None:
    """Draw a panel of the kind `bargauge` into a box."""
    known = [(answer.name, answer.last) for answer in answers if answer.last is not None]
    if not known:
        return
    height = min(LARGEST_BAR, (box.height - GAP) / len(known) - GAP)
    texts = [text_of(value, panel.unit, panel.decimals) for _, value in known]
    widest = max(text_width(name, TEXT) for name, _ in known) + 10
    left = box.left + min(widest, box.width * NAME_SHARE)
    right = box.right - max(text_width(text, TEXT) for text in texts) - 10
    highest = panel.highest or max(value for _, value in known) or 1.0
    # What is left over goes above and below.
    top = box.top + max(0.0, (box.height - len(known) * (height + GAP)) / 2)
    for (name, value), text in zip(known, texts, strict=True):
        middle, colour = top + height / 2, stepped(value, panel.steps)
        canvas.text((left - 8, middle), shortened(name, TEXT, left - box.left - 8), TEXT, INK, "rm")
        canvas.rectangle(Box(left, top, right, top + height), UNFILLED, radius=2)
        end = left + min(1.0, max(0.0, value / highest)) * (right - left)
        if end - left >= 1:
            canvas.rectangle(Box(left, top, end, top + height), colour, 0.85, radius=2)
        canvas.text((right + 8, middle), text, TEXT, colour, "lm", is_bold=True)
        top += height + GAP
