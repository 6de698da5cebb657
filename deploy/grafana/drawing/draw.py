"""Draws the dashboards from a running Prometheus.

    python -m deploy.grafana.drawing.draw --prometheus 127.0.0.1:9090 --minutes 30 build/dashboards

Grafana draws them better; this needs none.
"""

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

from deploy.grafana.drawing.answers import Asking, Named, ask, is_alive
from deploy.grafana.drawing.document import Dashboard, read_dashboard
from deploy.grafana.drawing.picture import ROW_KIND, draw_dashboard
from deploy.grafana.drawing.prometheus import Prometheus, Window

DASHBOARDS = Path(__file__).parents[1] / "dashboards"
POINTS = 240
SCRAPE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Drawn:
    """What became of one panel.

    Attributes:
        dashboard: Its title.
        panel: Its title.
        series: How many came.
        is_alive: Whether every query had values to the end.
    """

    dashboard: str
    panel: str
    series: int
    is_alive: bool


def window_of(end_seconds: float, seconds: float) -> Window:
    """A window with as many steps as a picture shows, each at least a second."""
    step = max(1.0, round(seconds / POINTS))
    # Grafana asks at multiples of the step, so that values do not dance between two looks.
    end = end_seconds // step * step
    return Window(end - seconds // step * step, end, step)


def draw(prometheus: Prometheus, dashboard: Dashboard, asking: Asking, file: Path) -> list[Drawn]:
    """Ask for every panel of a dashboard, and draw it into a PNG file.

    Raises:
        DvdError: Prometheus does not answer, or a query is none.
    """
    answers: dict[int, list[Named]] = {
        index: ask(prometheus, panel, asking)
        for index, panel in enumerate(dashboard.panels)
        if panel.kind != ROW_KIND
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    draw_dashboard(dashboard, answers, asking).save(file, "PNG")
    return [
        Drawn(
            dashboard.title,
            dashboard.panels[index].title,
            len(found),
            is_alive(dashboard.panels[index], found, asking.window),
        )
        for index, found in answers.items()
    ]


def main() -> None:
    """Draw all of them."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, help="where the pictures go")
    parser.add_argument("--prometheus", default="127.0.0.1:9090", help="host:port")
    parser.add_argument("--minutes", type=float, default=30.0, help="how far back")
    parser.add_argument("--scrape-seconds", type=float, default=SCRAPE_SECONDS)
    arguments = parser.parse_args()
    window = window_of(time.time(), arguments.minutes * 60)
    asking = Asking(window, arguments.scrape_seconds, {})
    for file in sorted(DASHBOARDS.glob("*.json")):
        dashboard = read_dashboard(file)
        picture = arguments.folder / f"{file.stem}.png"
        draw(Prometheus(arguments.prometheus), dashboard, asking, picture)


if __name__ == "__main__":
    main()
