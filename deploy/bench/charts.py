"""Charts on a sheet: how times are spread, how a rate went, how parts compare."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from deploy.paper import GREY, INK, Box, Colour, Paper

BLUE: Colour = (28, 98, 208)
ORANGE: Colour = (224, 112, 8)
LINE: Colour = (222, 221, 216)
TITLE, TEXT = 19, 14
HEAD, FOOT, LEFT = 36, 30, 58
NUM_BINS = 48
NUM_TICKS = 4
STEPS = (1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10)


@dataclass(frozen=True, slots=True)
class Mark:
    """A value that is pointed out, such as a median."""

    name: str
    value: float
    colour: Colour


@dataclass(frozen=True, slots=True)
class Bar:
    """One of several parts.

    Attributes:
        name: As shown.
        value: Its length.
        shown: The value in words.
        colour: Of the bar.
    """

    name: str
    value: float
    shown: str
    colour: Colour


def draw_histogram(
    paper: Paper, box: Box, title: str, values: Sequence[float], marks: Sequence[Mark]
) -> None:
    """Draw how values, at least 0, are spread; marks stand in a legend beside the title."""
    area = _frame(paper, box, title)
    longest = nice_limit(max((*values, *(mark.value for mark in marks)), default=0.0))
    counts = [0] * NUM_BINS
    for value in values:
        counts[min(int(value / longest * NUM_BINS), NUM_BINS - 1)] += 1
    highest = nice_limit(max(counts), is_count=True)
    _grid(paper, area, highest)
    _columns(paper, area, counts, highest)
    for mark in marks:
        x = area.left + round(mark.value / longest * area.width)
        paper.fill(Box(x - 1, area.top, x + 1, area.bottom), mark.colour)
    _legend(paper, box, marks)
    _feet(paper, area, longest, "ms")


def draw_series(
    paper: Paper, box: Box, title: str, values: Sequence[float], seconds: float
) -> None:
    """Draw a quantity in equal steps over this many seconds."""
    area = _frame(paper, box, title)
    highest = nice_limit(max(values, default=0.0))
    _grid(paper, area, highest)
    _columns(paper, area, values, highest)
    _feet(paper, area, seconds, "s")


def draw_bars(paper: Paper, box: Box, title: str, bars: Sequence[Bar]) -> None:
    """Draw parts one under the other, their names before them and values behind."""
    paper.text(title, (box.left, box.top), TITLE, "la")
    longest = max((bar.value for bar in bars), default=0.0) or 1.0
    names, numbers = 120, 100
    step = (box.height - HEAD) // max(len(bars), 1)
    for index, bar in enumerate(bars):
        top = box.top + HEAD + index * step
        middle = top + step / 2
        left = box.left + names
        length = round(bar.value / longest * (box.width - names - numbers))
        paper.text(bar.name, (left - 10, middle), TEXT, "rm")
        paper.fill(Box(left, top + step // 6, left + length, top + step - step // 6), bar.colour)
        paper.text(bar.shown, (left + length + 10, middle), TEXT, "lm", GREY)


def nice_limit(value: float, is_count: bool = False) -> float:
    """Where an axis ends, so that its ticks are round numbers, and whole ones of a count.

    Args:
        value: The largest one shown, at least 0.
        is_count: Whether a part of one would be nonsense.
    """
    step = value / NUM_TICKS
    if is_count:
        step = max(step, 1.0)
    if step <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(step))
    round_steps = (each * power for each in STEPS)
    # One part in a million is rounding, not more.
    return NUM_TICKS * next(
        each for each in round_steps if each >= step * (1 - 1e-6) and not (is_count and each % 1)
    )


def _frame(paper: Paper, box: Box, title: str) -> Box:
    """Write the title and return where the chart itself goes."""
    paper.text(title, (box.left, box.top), TITLE, "la")
    return Box(box.left + LEFT, box.top + HEAD, box.right, box.bottom - FOOT)


def _grid(paper: Paper, area: Box, highest: float) -> None:
    for tick in range(NUM_TICKS + 1):
        y = area.bottom - round(tick / NUM_TICKS * area.height)
        paper.fill(Box(area.left, y, area.right, y + 1), LINE)
        paper.text(f"{highest * tick / NUM_TICKS:.4g}", (area.left - 8, y), TEXT, "rm", GREY)


def _columns(paper: Paper, area: Box, values: Sequence[float], highest: float) -> None:
    for index, value in enumerate(values):
        left = area.left + round(index / len(values) * area.width)
        right = area.left + round((index + 1) / len(values) * area.width)
        gap = 1 if right - left > 4 else 0
        top = area.bottom - round(value / highest * area.height)
        paper.fill(Box(left, top, right - gap, area.bottom), BLUE)
    paper.fill(Box(area.left, area.bottom, area.right, area.bottom + 1), INK)


def _legend(paper: Paper, box: Box, marks: Sequence[Mark]) -> None:
    right = float(box.right)
    for mark in reversed(marks):
        shown = f"{mark.name} {mark.value:.4g} ms"
        paper.text(shown, (right, box.top + 4), TEXT, "ra", mark.colour)
        right -= 8.2 * len(shown)


def _feet(paper: Paper, area: Box, longest: float, unit: str) -> None:
    for tick in range(NUM_TICKS + 1):
        x = area.left + tick / NUM_TICKS * area.width
        anchor = "ra" if tick == NUM_TICKS else "ma"
        shown = f"{longest * tick / NUM_TICKS:.4g}" + (f" {unit}" if tick == NUM_TICKS else "")
        paper.text(shown, (x, area.bottom + 8), TEXT, anchor, GREY)
