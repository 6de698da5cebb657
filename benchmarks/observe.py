"""Does every dashboard show something: a cluster, a Prometheus, traffic, and all panels asked.

    make observe-check
    python -m benchmarks.observe build/dashboards --json observe.json

`dvd serve` runs the shipped model, a real Prometheus scrapes all that discovery names, clients do
all that a dashboard shows. Then every metric that a panel or a rule names must be there with the
labels that it is asked by, promtool must find nothing and see every alert fire and clear, and each
panel is asked and drawn. What is missing is in the rows, and ends the program with 1.
"""

import argparse
import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import yaml

from benchmarks.observed_cluster import (
    BINARIES,
    CONFIG,
    NUM_PROCESSES,
    RULES,
    SCRAPE_SECONDS,
    Observed,
    observed_cluster,
)
from benchmarks.observed_load import ObservedLoad
from common.errors import UnavailableError
from common.result import Goal, Result
from deploy.grafana.drawing.answers import Asking
from deploy.grafana.drawing.document import Dashboard, read_dashboard
from deploy.grafana.drawing.draw import DASHBOARDS, Drawn, draw, window_of
from deploy.grafana.metric_names import metrics_used

START_SECONDS = 60.0
GOAL = "dashboards: panels that return data, share"


async def wait_for_targets(observed: Observed) -> None:
    """Wait until Prometheus has scraped every process of the cluster."""
    async with asyncio.timeout(START_SECONDS):
        while True:
            try:
                targets = await asyncio.to_thread(observed.prometheus.targets_up, "dvd")
            except UnavailableError:  # it is starting
                targets = {}
            if sum(targets.values()) == NUM_PROCESSES:
                return
            await asyncio.sleep(SCRAPE_SECONDS / 4)


def expressions(dashboards: list[Dashboard]) -> Iterator[str]:
    """All PromQL of dashboards and rules."""
    for dashboard in dashboards:
        for panel in dashboard.panels:
            yield from (target.expr for target in panel.targets)
    for file in sorted(RULES.glob("*.yml")):
        for group in yaml.safe_load(file.read_text(encoding="utf-8"))["groups"]:
            yield from (rule["expr"] for rule in group["rules"])


def missing_labels(observed: Observed, exprs: Iterator[str]) -> Mapping[str, frozenset[str]]:
    """Labels that a metric is asked by and does not have; its name where there is none at all."""
    asked: dict[str, frozenset[str]] = {}
    for expr in exprs:
        for name, labels in metrics_used(expr).items():
            asked[name] = asked.get(name, frozenset()) | labels | {"__name__"}
    found = {name: labels - observed.prometheus.labels_of(name) for name, labels in asked.items()}
    return {name: labels for name, labels in found.items() if labels}


def failed_checks() -> list[str]:
    """What promtool finds."""
    checks = (
        ["check", "config", CONFIG],
        ["check", "rules", *sorted(RULES.glob("*.yml"))],
        ["test", "rules", *sorted((RULES.parent / "tests").glob("*.yml"))],
    )
    failed = []
    for arguments in checks:
        ended = subprocess.run(
            [BINARIES / "promtool", *arguments], capture_output=True, text=True, check=False
        )
        if ended.returncode:
            failed.append(f"promtool {arguments[0]} {arguments[1]}: {ended.stdout}{ended.stderr}")
    return failed


async def observe(folder: Path, arguments: argparse.Namespace, result: Result) -> list[str]:
    """Run everything; fill in rows and the goal.

    Returns:
        What is wrong.
    """
    dashboards = [read_dashboard(file) for file in sorted(DASHBOARDS.glob("*.json"))]
    wrong = failed_checks()
    with observed_cluster(folder) as observed:
        await wait_for_targets(observed)
        load = ObservedLoad(observed.router, seed=1)
        # Not what comes after it: then the last answers run out.
        end_seconds = time.time() + arguments.seconds
        await load.run(arguments.seconds)
        await load.close()
        window = window_of(end_seconds, arguments.seconds)
        asking = Asking(window, SCRAPE_SECONDS, {})
        for name, labels in missing_labels(observed, expressions(dashboards)).items():
            wrong.append(f"{name} has no {', '.join(sorted(labels))}")
        drawn = [
            panel
            for dashboard in dashboards
            for panel in draw(
                observed.prometheus, dashboard, asking, arguments.folder / f"{dashboard.uid}.png"
            )
        ]
    report(drawn, load, result)
    return wrong + [
        f"{each.dashboard}: {each.panel} shows nothing" for each in drawn if not each.is_alive
    ]


def report(drawn: list[Drawn], load: ObservedLoad, result: Result) -> None:
    """Turn what was seen into rows and the goal."""
    for outcome, count in sorted(load.counts.items()):
        result.rows.append({"measured": f"requests: {outcome}", "value": count})
    for title in sorted({each.dashboard for each in drawn}):
        panels = [each for each in drawn if each.dashboard == title]
        result.rows.append({"measured": f"panels: {title}", "value": len(panels)})
    result.rows.append({"measured": "series", "value": sum(each.series for each in drawn)})
    share = sum(each.is_alive for each in drawn) / len(drawn)
    result.goals.append(Goal(GOAL, share, 1.0, "higher"))


def main() -> None:
    """Observe, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, help="where the pictures go")
    parser.add_argument("--seconds", type=float, default=90.0, help="of traffic")
    parser.add_argument("--json", type=Path, help="write the result to this file")
    arguments = parser.parse_args()
    result = Result()
    with tempfile.TemporaryDirectory() as folder:
        wrong = asyncio.run(observe(Path(folder), arguments, result))
    result.rows += [{"measured": "wrong", "value": each} for each in wrong]
    result.report(arguments.json)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
