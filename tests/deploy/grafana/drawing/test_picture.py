"""Where which colour is: lines, stacks, gaps, bars, cells, bands, numbers."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from deploy.grafana.drawing.answers import Asking, Named
from deploy.grafana.drawing.document import Dashboard, Panel, Place, Shown, Target
from deploy.grafana.drawing.heat_panel import DARK, LIGHT
from deploy.grafana.drawing.picture import draw_dashboard
from deploy.grafana.drawing.prometheus import Series, Window
from deploy.grafana.drawing.theme import Colour, colour_of, palette

TIMES = tuple(float(time) for time in range(1000, 1101))
ASKING = Asking(Window(TIMES[0], TIMES[-1], 1.0), 1.0, {"role": "vision"})
STEPS = ((-math.inf, "green"), (10.0, "red"))
PANEL = Panel(
    kind="timeseries", title="Title", place=Place(0, 0, 12, 8),
    targets=(Target("a", "a"),), unit="short", decimals=None, highest=4, steps=STEPS,
    shown={}, is_stacked=False, fill=0.0, colours={},
)  # fmt: skip
Pixels = npt.NDArray[np.bool_]


def flat(value: float, name: str = "a", times: Sequence[float] = TIMES, **labels: str) -> Named:
    return Named(name, Series(labels, tuple(times), (value,) * len(times)))


def drawn(panel: Panel, *answers: Named) -> npt.NDArray[np.int_]:
    """The picture of a dashboard with this panel alone, as rows of RGB."""
    board = Dashboard("uid", "Board", {"role": "Role"}, (panel,))
    return np.asarray(draw_dashboard(board, {0: answers}, ASKING)).astype(int)


def pixels_of(picture: npt.NDArray[np.int_], colour: Colour, tolerance: int = 12) -> Pixels:
    """Which pixels have a colour; those of the legend, at the lower edge, are left out."""
    same = np.abs(picture - np.array(colour)).max(axis=2) <= tolerance
    same[350:] = False
    return same


def height_of(picture: npt.NDArray[np.int_], colour: Colour) -> float:
    """Row of a flat line."""
    return float(np.nonzero(pixels_of(picture, colour))[0].mean())


def test_values_are_evenly_spaced_from_zero_to_the_top_of_the_axis() -> None:
    zero, two, four = (height_of(drawn(PANEL, flat(value)), palette(0)) for value in (0, 2, 4))
    assert zero > two > four
    assert zero - two == pytest.approx(two - four, abs=1)


def test_a_stack_stands_on_what_is_below() -> None:
    stacked = replace(PANEL, is_stacked=True)
    two = height_of(drawn(PANEL, flat(2)), palette(0))
    assert height_of(drawn(stacked, flat(1), flat(1, "b")), palette(1)) == pytest.approx(two, abs=1)


def test_a_named_series_has_its_colour_wherever_it_stands() -> None:
    panel = replace(PANEL, colours={"b": "red"})
    alone = drawn(panel, flat(2, "b"))
    second = drawn(panel, flat(1), flat(2, "b"))
    for picture in (alone, second):
        assert pixels_of(picture, colour_of("red")).any()
    assert not pixels_of(alone, palette(0)).any()


def test_a_line_breaks_where_values_are_missing() -> None:
    whole = pixels_of(drawn(PANEL, flat(2)), palette(0)).any(axis=0).sum()
    missing = pixels_of(drawn(PANEL, flat(2, times=TIMES[:30] + TIMES[60:])), palette(0))
    values = [2.0] * 30 + [math.nan] * 30 + [2.0] * 41
    series = Named("a", Series({}, TIMES, tuple(values)))
    undefined = pixels_of(drawn(PANEL, series), palette(0))
    assert missing.any(axis=0).sum() == pytest.approx(0.69 * whole, abs=5)
    assert (missing == undefined).all()


def test_an_area_is_filled_below_its_line() -> None:
    filled, bare = drawn(replace(PANEL, fill=0.5), flat(2)), drawn(PANEL, flat(2))
    rows, _ = np.nonzero(np.abs(filled - bare).max(axis=2) > 30)
    line = height_of(bare, palette(0))
    assert rows.min() >= line - 2
    assert rows.max() - line > 50


def test_bars_are_as_long_as_their_values() -> None:
    panel = replace(PANEL, kind="bargauge", highest=None)
    picture = drawn(panel, flat(8, "long"), flat(2, "short"))
    # Blended with the surface; the tolerance takes that in, the text beside is narrow.
    green = pixels_of(picture, colour_of("green"), 40)
    lengths = green.sum(axis=1)
    assert lengths.max() == pytest.approx(4 * np.median(lengths[lengths > 20][-10:]), rel=0.1)


def test_numbers_take_the_colour_of_the_step_that_they_reach() -> None:
    panel = replace(PANEL, kind="stat")
    below, above = drawn(panel, flat(9.9)), drawn(panel, flat(10))
    assert pixels_of(below, colour_of("green")).sum() > 100
    assert not pixels_of(below, colour_of("red")).any()
    assert pixels_of(above, colour_of("red")).sum() > 100


def test_a_cell_is_brightest_where_its_bucket_was_hit_most() -> None:
    panel = replace(PANEL, kind="heatmap", unit="s")
    often, seldom = 100.0, 10.0
    cumulative = [flat(seldom, le="0.1"), flat(seldom + often, le="0.5"), flat(110, le="+Inf")]
    picture = drawn(panel, *cumulative)
    bright = np.nonzero(pixels_of(picture, LIGHT))[0]
    dim = tuple(
        round(low + (high - low) * (seldom / often) ** 0.5)
        for low, high in zip(DARK, LIGHT, strict=True)
    )
    faint = np.nonzero(pixels_of(picture, (dim[0], dim[1], dim[2])))[0]
    assert len(bright) > 1000
    assert len(faint) > 1000
    assert bright.max() < faint.min()  # larger buckets are above


def test_bands_show_states_for_as_long_as_they_lasted() -> None:
    shown = {1: Shown("up", "green"), 3: Shown("ejected", "red")}
    panel = replace(PANEL, kind="state-timeline", shown=shown)
    answer = Named("vision-0", Series({}, TIMES, (1.0,) * 75 + (3.0,) * 26))
    picture = drawn(panel, answer)
    # The legend has a patch of each colour too.
    up, ejected = (
        (pixels_of(picture, colour_of(name), 45).sum(axis=0) > 15).sum()
        for name in ("green", "red")
    )
    assert up > 100
    assert up == pytest.approx(3 * ejected, rel=0.1)


@pytest.mark.parametrize("kind", ["timeseries", "stat", "bargauge", "heatmap", "state-timeline"])
def test_without_data_nothing_but_words_is_drawn(kind: str) -> None:
    nothing = drawn(replace(PANEL, kind=kind), flat(math.nan, le="1"))
    assert (nothing == drawn(replace(PANEL, kind=kind))).all()
    assert (nothing.max(axis=2) - nothing.min(axis=2)).max() < 20  # no colour anywhere


def test_a_panel_stands_where_the_grid_has_it() -> None:
    left = pixels_of(drawn(PANEL, flat(2)), palette(0)).any(axis=0)
    moved = replace(PANEL, place=Place(12, 0, 12, 8))
    right = pixels_of(drawn(moved, flat(2)), palette(0)).any(axis=0)
    assert np.nonzero(left)[0].max() < np.nonzero(right)[0].min()
