"""A dashboard as its JSON file says, as far as it is drawn."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Place:
    """Where a panel stands, in Grafana's grid.

    Attributes:
        left: Column.
        top: Row.
        width: In columns.
        height: In rows.
    """

    left: int
    top: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Target:
    """One query of a panel.

    Attributes:
        expr: PromQL with variables.
        legend: Name of its series, with labels as `{{label}}`.
    """

    expr: str
    legend: str


@dataclass(frozen=True, slots=True)
class Shown:
    """What stands for a value: a word and a colour of Grafana's."""

    text: str
    colour: str


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel, a row's heading among them.

    Attributes:
        kind: Grafana's type of panel.
        title: Above it.
        place: Where it stands.
        targets: What it asks.
        unit: Grafana's name of it.
        decimals: Behind the point; None for as many as the value needs.
        highest: Top of the axis; None for what the values need.
        steps: Colours and the values from which on they show, ascending.
        shown: Words for whole values.
        is_stacked: Whether its series add up.
        fill: Opacity below a line, 0 to 1.
        colours: Of series by their name; others take their place's.
    """

    kind: str
    title: str
    place: Place
    targets: tuple[Target, ...]
    unit: str
    decimals: int | None
    highest: float | None
    steps: tuple[tuple[float, str], ...]
    shown: Mapping[int, Shown]
    is_stacked: bool
    fill: float
    colours: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Dashboard:
    """One dashboard.

    Attributes:
        uid: Its stable name.
        title: At the top.
        variables: Names of its variables but for the data source, with their labels.
        panels: In the order of the file.
    """

    uid: str
    title: str
    variables: Mapping[str, str]
    panels: tuple[Panel, ...]


def read_dashboard(file: Path) -> Dashboard:
    """Read a dashboard that `deploy.grafana.generate` wrote."""
    document = json.loads(file.read_text(encoding="utf-8"))
    variables = {
        each["name"]: each.get("label") or each["name"]
        for each in document["templating"]["list"]
        if each["type"] != "datasource"
    }
    panels = tuple(_panel(each) for each in document["panels"])
    return Dashboard(document["uid"], document["title"], variables, panels)


def _panel(document: Mapping[str, Any]) -> Panel:
    field = document.get("fieldConfig", {}).get("defaults", {})
    custom, grid = field.get("custom") or {}, document["gridPos"]
    axis = (document.get("options") or {}).get("yAxis") or {}
    return Panel(
        kind=document["type"],
        title=document["title"],
        place=Place(grid["x"], grid["y"], grid["w"], grid["h"]),
        targets=tuple(
            Target(each["expr"], each.get("legendFormat", ""))
            for each in document.get("targets", ())
        ),
        unit=field.get("unit") or axis.get("unit") or "short",
        decimals=field.get("decimals"),
        highest=field.get("max"),
        steps=_steps(field.get("thresholds") or {}),
        shown=_shown(field.get("mappings") or ()),
        is_stacked=(custom.get("stacking") or {}).get("mode") == "normal",
        fill=(custom.get("fillOpacity") or 0) / 100,
        colours=_colours(document.get("fieldConfig", {}).get("overrides") or ()),
    )


def _steps(document: Mapping[str, Any]) -> tuple[tuple[float, str], ...]:
    steps = document.get("steps", ())
    return tuple(
        (float("-inf") if step["value"] is None else step["value"], step["color"]) for step in steps
    )


def _shown(mappings: Any) -> dict[int, Shown]:
    return {
        int(value): Shown(result["text"], result["color"])
        for mapping in mappings
        for value, result in mapping["options"].items()
    }


def _colours(overrides: Any) -> dict[str, str]:
    return {
        override["matcher"]["options"]: each["value"]["fixedColor"]
        for override in overrides
        if override["matcher"]["id"] == "byName"
        for each in override["properties"]
        if each["id"] == "color"
    }
