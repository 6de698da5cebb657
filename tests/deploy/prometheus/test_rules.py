"""Recording and alert rules: what they rest on, that each is tested, that each is explained.

`make observe-check` has promtool run the tests of `deploy/prometheus/tests`.
"""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.grafana.drawing.document import read_dashboard
from deploy.grafana.generate import FOLDER as DASHBOARDS
from deploy.grafana.metric_names import metrics_used
from tests.deploy.grafana.documented_metrics import documented_metrics

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "deploy/prometheus"
SEVERITIES = {"info", "warning", "critical"}


def rules(file: str) -> list[dict[str, Any]]:
    document = yaml.safe_load((FOLDER / "rules" / file).read_text(encoding="utf-8"))
    return [rule for group in document["groups"] for rule in group["rules"]]


RECORDS = {rule["record"]: rule["expr"] for rule in rules("recording.yml")}
ALERTS = {rule["alert"]: rule for rule in rules("alerts.yml")}


@pytest.mark.parametrize("rule", [*RECORDS.values(), *(rule["expr"] for rule in ALERTS.values())])
def test_rules_rest_on_metrics_that_somebody_exports(rule: str) -> None:
    known = documented_metrics()
    used = metrics_used(rule)
    assert used
    for name, labels in used.items():
        if name not in RECORDS:
            assert name in known
            assert labels <= known[name], name


@pytest.mark.parametrize("alert", ALERTS)
def test_every_alert_says_what_it_is_and_where_to_read_on(alert: str) -> None:
    rule = ALERTS[alert]
    assert rule["labels"]["severity"] in SEVERITIES
    assert rule["annotations"]["summary"].endswith(".")
    file, _, anchor = rule["annotations"]["runbook_url"].partition("#")
    assert anchor == alert.lower()
    section = (ROOT / file).read_text(encoding="utf-8").partition(f"\n## {alert}\n")[2]
    section = section.partition("\n## ")[0]
    assert all(f"**{part}.**" in section for part in ("Means", "Look at", "Do"))


def test_every_alert_is_seen_to_fire_and_to_clear() -> None:
    document = yaml.safe_load((FOLDER / "tests/alerts.yml").read_text(encoding="utf-8"))
    fires, clears = set(), set()
    for test in document["tests"]:
        if "alert_rule_test" not in test:
            continue
        first, last = test["alert_rule_test"]
        assert first["exp_alerts"]
        assert last["exp_alerts"] == []
        fires.add(first["alertname"])
        clears.add(last["alertname"])
    assert fires == clears == set(ALERTS)


def test_every_section_of_the_runbook_belongs_to_an_alert() -> None:
    lines = (ROOT / "docs/runbook.md").read_text(encoding="utf-8").splitlines()
    assert [line[3:] for line in lines if line.startswith("## ")] == list(ALERTS)


def test_the_runbook_names_panels_that_there_are() -> None:
    there = {
        f"{board.title.removeprefix('DvD / ')} / {panel.title}"
        for board in map(read_dashboard, DASHBOARDS.glob("*.json"))
        for panel in board.panels
    }
    text = (ROOT / "docs/runbook.md").read_text(encoding="utf-8").replace("\n", " ")
    named = set(re.findall(r"\*([A-Z][^*/]+ / [^*]+)\*", text))
    assert len(named) > 10
    assert named <= there
