"""The kinds of panels that the dashboards are made of.

One look for all of them: what differs between two panels of a kind is what they ask and its unit.
`deploy/grafana/board.py` numbers and places them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from typing import TypeAlias, TypeVar

from grafana_foundation_sdk.builders import (
    bargauge,
    common,
    heatmap,
    prometheus,
    stat,
    statetimeline,
    timeseries,
)
from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.models import common as look
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models import heatmap as heat_model
from grafana_foundation_sdk.models import prometheus as prometheus_model

DATASOURCE = model.DataSourceRef(type_val="prometheus", uid="${datasource}")

PanelBuilder: TypeAlias = (
    stat.Panel | timeseries.Panel | bargauge.Panel | heatmap.Panel | statetimeline.Panel
)


@dataclass(frozen=True, slots=True)
class Query:
    """One question to Prometheus.

    Attributes:
        expr: PromQL, with the dashboard's variables.
        legend: Name of its series, with labels as `{{label}}`.
    """

    expr: str
    legend: str


@dataclass(frozen=True, slots=True)
class Step:
    """From which value on a panel shows a colour.

    Attributes:
        value: In the panel's unit; None for the lowest step.
        colour: One of Grafana's names.
    """

    value: float | None
    colour: str


CALM = (Step(None, "blue"),)


def number(
    title: str, text: str, unit: str, expr: str, steps: Sequence[Step] = CALM, decimals: int = 1
) -> stat.Panel:
    """One big number, with its course behind it."""
    panel = (
        stat.Panel()
        .color_mode(look.BigValueColorMode.VALUE)
        .graph_mode(look.BigValueGraphMode.AREA)
        .reduce_options(_last())
        .color_scheme(build.FieldColor().mode(model.FieldColorModeId.THRESHOLDS))
        .thresholds(_thresholds(steps))
        .decimals(decimals)
        .min(0)
    )
    return _ask(panel.title(title).description(text).unit(unit), [Query(expr, title)])


def curves(
    title: str,
    text: str,
    unit: str,
    queries: Sequence[Query],
    *,
    is_stacked: bool = False,
    highest: float | None = None,
    colours: Mapping[str, str] | None = None,
) -> timeseries.Panel:
    """Lines over time, from zero.

    Args:
        title: Of the panel.
        text: What it shows.
        unit: As Grafana names it.
        queries: Whose series are drawn.
        is_stacked: Whether they add up to a whole.
        highest: Top of the axis; None for what the values need.
        colours: Of series by their name, where a colour means something; others take any.
    """
    legend = common.VizLegendOptions().display_mode(look.LegendDisplayMode.LIST)
    panel = (
        timeseries.Panel()
        .draw_style(look.GraphDrawStyle.LINE)
        .line_width(2)
        .line_interpolation(look.LineInterpolation.LINEAR)
        .fill_opacity(45 if is_stacked else 8)
        .show_points(look.VisibilityMode.NEVER)
        .span_nulls(False)
        .legend(
            legend.placement(look.LegendPlacement.BOTTOM).show_legend(True).calcs(["lastNotNull"])
        )
        .tooltip(common.VizTooltipOptions().mode(look.TooltipDisplayMode.MULTI))
        .color_scheme(build.FieldColor().mode(model.FieldColorModeId.PALETTE_CLASSIC))
        .min(0)
    )
    if is_stacked:
        panel.stacking(common.StackingConfig().mode(look.StackingMode.NORMAL))
    if highest is not None:
        panel.max(highest)
    for name, colour in (colours or {}).items():
        fixed = {"mode": "fixed", "fixedColor": colour}
        panel.override_by_name(name, [model.DynamicConfigValue("color", fixed)])
    return _ask(panel.title(title).description(text).unit(unit), queries)


def bars(
    title: str,
    text: str,
    unit: str,
    query: Query,
    steps: Sequence[Step] = CALM,
    highest: float | None = None,
) -> bargauge.Panel:
    """A bar for each series, as long as its last value."""
    panel = (
        bargauge.Panel()
        .orientation(look.VizOrientation.HORIZONTAL)
        .display_mode(look.BarGaugeDisplayMode.BASIC)
        .value_mode(look.BarGaugeValueMode.COLOR)
        .show_unfilled(True)
        .reduce_options(_last())
        .color_scheme(build.FieldColor().mode(model.FieldColorModeId.THRESHOLDS))
        .thresholds(_thresholds(steps))
        .min(0)
    )
    if highest is not None:
        panel.max(highest)
    return _ask(panel.title(title).description(text).unit(unit), [query])


def heat(title: str, text: str, unit: str, expr: str) -> heatmap.Panel:
    """How often each bucket of a histogram was hit, over time; `expr` keeps the label `le`."""
    colour = heatmap.HeatmapColorOptions().mode(heat_model.HeatmapColorMode.SCHEME).steps(64)
    panel = (
        heatmap.Panel()
        .calculate(False)
        .cell_gap(1)
        .color(colour.scheme("Oranges").fill("dark-orange").exponent(0.5).reverse(False))
        .y_axis(heatmap.YAxisConfig().unit(unit))
        .show_tooltip()
    )
    target = _target(Query(expr, "{{le}}"), "A").format(prometheus_model.PromQueryFormat.HEATMAP)
    return panel.title(title).description(text).with_target(target)


def states(
    title: str, text: str, query: Query, shown: Mapping[int, tuple[str, str]]
) -> statetimeline.Panel:
    """A band for each series, coloured by the state that its value stands for.

    Args:
        title: Of the panel.
        text: What it shows.
        query: Whose values are whole numbers.
        shown: Word and colour of each of them.
    """
    options = {
        str(value): model.ValueMappingResult(text=word, color=colour, index=index)
        for index, (value, (word, colour)) in enumerate(shown.items())
    }
    panel = (
        statetimeline.Panel()
        .show_value(look.VisibilityMode.AUTO)
        .row_height(0.8)
        .fill_opacity(80)
        .line_width(0)
        .merge_values(True)
        .mappings([model.ValueMap(options)])
    )
    return _ask(panel.title(title).description(text), [query])


AnyPanel = TypeVar("AnyPanel", stat.Panel, timeseries.Panel, bargauge.Panel, statetimeline.Panel)


def _ask(panel: AnyPanel, queries: Sequence[Query]) -> AnyPanel:
    for query, ref_id in zip(queries, ascii_uppercase, strict=False):
        panel.with_target(_target(query, ref_id))
    return panel


def _target(query: Query, ref_id: str) -> prometheus.Dataquery:
    # The builder leaves the reference empty, and Grafana then shows one query alone.
    target = prometheus.Dataquery().expr(query.expr).legend_format(query.legend)
    return target.ref_id(ref_id).datasource(DATASOURCE).range()


def _last() -> common.ReduceDataOptions:
    return common.ReduceDataOptions().calcs(["lastNotNull"]).values(False)


def _thresholds(steps: Sequence[Step]) -> build.ThresholdsConfig:
    levels = [model.Threshold(value=step.value, color=step.colour) for step in steps]
    return build.ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE).steps(levels)
