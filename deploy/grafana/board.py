"""One dashboard: its variables and links, and rows of panels that it numbers and places.

A row is as wide as Grafana's grid of 24 columns; panels of a line share it evenly unless they say
how wide they are.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.models import dashboard as model

from deploy.grafana.panels import DATASOURCE, PanelBuilder

COLUMNS = 24
TAG = "dvd"
SELECTOR = 'model_name=~"$model_name"'
REPLICA_SELECTOR = f'{SELECTOR}, role=~"$role", replica=~"$replica"'


@dataclass(frozen=True, slots=True)
class Line:
    """Panels beside each other.

    Attributes:
        height: In rows of the grid, which are 30 pixels high.
        panels: From left to right.
        widths: In columns, one a panel; empty where they share the line evenly.
    """

    height: int
    panels: Sequence[PanelBuilder]
    widths: Sequence[int] = ()

    @property
    def columns(self) -> Sequence[int]:
        """Width of each panel."""
        return self.widths or [COLUMNS // len(self.panels)] * len(self.panels)


@dataclass(frozen=True, slots=True)
class Section:
    """Lines under one heading.

    Attributes:
        title: The heading.
        lines: From top to bottom.
    """

    title: str
    lines: Sequence[Line]


@dataclass(frozen=True, slots=True)
class Board:
    """What a dashboard consists of.

    Attributes:
        uid: Stable, so that links and bookmarks stay.
        title: In lists and at the top.
        text: What it answers.
        sections: From top to bottom.
    """

    uid: str
    title: str
    text: str
    sections: Sequence[Section]

    def document(self) -> model.Dashboard:
        """Make the document that Grafana reads."""
        board = (
            build.Dashboard(self.title)
            .uid(self.uid)
            .description(self.text)
            .tags([TAG])
            .time("now-30m", "now")
            .refresh("10s")
            .timezone("browser")
            .tooltip(model.DashboardCursorSync.CROSSHAIR)
            .link(_link_to_the_others())
        )
        for variable in _variables():
            board.with_variable(variable)
        self._place(board)
        return board.build()

    def _place(self, board: build.Dashboard) -> None:
        number, top = 1, 0
        for section in self.sections:
            place = model.GridPos(h=1, w=COLUMNS, x=0, y=top)
            board.with_row(build.Row(section.title).id(number).grid_pos(place))
            number, top = number + 1, top + 1
            for line in section.lines:
                left = 0
                for panel, width in zip(line.panels, line.columns, strict=True):
                    place = model.GridPos(h=line.height, w=width, x=left, y=top)
                    board.with_panel(panel.id(number).grid_pos(place).datasource(DATASOURCE))
                    number, left = number + 1, left + width
                top += line.height


def _variables() -> list[build.DatasourceVariable | build.QueryVariable]:
    source = build.DatasourceVariable("datasource").label("Data source").type("prometheus")
    return [
        source,
        _label_values("model_name", "Model", "dvd_build_info"),
        _label_values("role", "Role", f"dvd_build_info{{{SELECTOR}}}"),
        _label_values("replica", "Replica", f'dvd_build_info{{{SELECTOR}, role=~"$role"}}'),
    ]


def _label_values(label: str, title: str, series: str) -> build.QueryVariable:
    return (
        build.QueryVariable(label)
        .label(title)
        .query(f"label_values({series}, {label})")
        .datasource(DATASOURCE)
        .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(model.VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".*")
        .current(model.VariableOption(selected=True, text="All", value="$__all"))
    )


def _link_to_the_others() -> build.DashboardLink:
    return (
        build.DashboardLink("DvD")
        .type(model.DashboardLinkType.DASHBOARDS)
        .tags([TAG])
        .as_dropdown(False)
        .include_vars(True)
        .keep_time(True)
    )
