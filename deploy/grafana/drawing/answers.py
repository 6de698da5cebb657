"""A panel's queries with the variables filled in, and what a Prometheus answers to them."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from deploy.grafana.drawing.document import Panel
from deploy.grafana.drawing.prometheus import Prometheus, Series, Window

VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)\})")
LABEL = re.compile(r"\{\{\s*(\w+)\s*\}\}")
ALL = ".*"


@dataclass(frozen=True, slots=True)
class Named:
    """A series with the name that the legend gives it.

    Attributes:
        name: In the legend.
        series: Its values.
        query: Which of the panel's queries it answers.
    """

    name: str
    series: Series
    query: int = 0

    @property
    def last(self) -> float | None:
        """The last value that is a number."""
        finite = [value for value in self.series.values if math.isfinite(value)]
        return finite[-1] if finite else None


@dataclass(frozen=True, slots=True)
class Asking:
    """How a dashboard's variables are set.

    Attributes:
        window: Of when.
        scrape_seconds: How often its Prometheus scrapes.
        chosen: Values of variables; those not named are `All`.
    """

    window: Window
    scrape_seconds: float
    chosen: Mapping[str, str]

    @property
    def rate_interval_seconds(self) -> int:
        """What Grafana puts for `$__rate_interval`: at least four scrapes."""
        least = max(self.window.step_seconds + self.scrape_seconds, 4 * self.scrape_seconds)
        return max(1, math.ceil(least))

    def filled(self, expr: str) -> str:
        """An expression without variables."""
        length = self.window.end_seconds - self.window.start_seconds
        built_in = {
            "__rate_interval": f"{self.rate_interval_seconds}s",
            "__interval": f"{max(1, round(self.window.step_seconds))}s",
            "__range": f"{max(1, round(length))}s",
        }
        values = {**built_in, **self.chosen}
        return VARIABLE.sub(lambda found: values.get(found[1] or found[2], ALL), expr)


def ask(prometheus: Prometheus, panel: Panel, asking: Asking) -> list[Named]:
    """Evaluate every query of a panel.

    Raises:
        DvdError: Prometheus does not answer, or a query is none.
    """
    return [
        Named(legend_of(target.legend, series.labels), series, query)
        for query, target in enumerate(panel.targets)
        for series in prometheus.query_range(asking.filled(target.expr), asking.window)
    ]


def legend_of(legend: str, labels: Mapping[str, str]) -> str:
    """Fill a legend's labels in; one that is not there is left out."""
    return LABEL.sub(lambda found: labels.get(found[1], ""), legend).strip()


def has_data(answers: list[Named]) -> bool:
    """Whether there is anything to draw."""
    return any(answer.last is not None for answer in answers)


def is_alive(panel: Panel, answers: list[Named], window: Window) -> bool:
    """Whether every query of a panel has a value in the last third of the window."""
    since = window.end_seconds - (window.end_seconds - window.start_seconds) / 3
    alive = {answer.query for answer in answers if _reaches(answer.series, since)}
    return alive == set(range(len(panel.targets)))


def _reaches(series: Series, since_seconds: float) -> bool:
    return any(
        time >= since_seconds and math.isfinite(value)
        for time, value in zip(series.times, series.values, strict=True)
    )
