"""The committed dashboards: fresh, well-formed, and resting on nothing that nobody exports."""

import json
import re
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from common import errors
from deploy.grafana.generate import FOLDER, documents
from deploy.grafana.metric_names import metrics_used
from deploy.grafana.statuses import STATUS_COLOURS
from tests.deploy.grafana.documented_metrics import documented_metrics

COLUMNS = 24
VARIABLES = {"datasource", "model_name", "role", "replica"}
BUILT_IN = {"__rate_interval", "__interval", "__range"}
FILES = sorted(FOLDER.glob("*.json"))


def load(file: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return document


def panels(file: Path) -> Iterator[dict[str, Any]]:
    return (panel for panel in load(file)["panels"] if panel["type"] != "row")


def test_the_committed_files_are_what_the_code_makes() -> None:
    """If not: `python -m deploy.grafana.generate`, and commit what it writes."""
    assert {file.name: file.read_text(encoding="utf-8") for file in FILES} == dict(documents())


def test_dashboards_have_names_of_their_own() -> None:
    boards = [load(file) for file in FILES]
    assert len({board["uid"] for board in boards}) == len(FILES) == 7
    assert len({board["title"] for board in boards}) == len(FILES)
    assert all(board["uid"].startswith("dvd-") and len(board["uid"]) <= 40 for board in boards)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_panels_are_numbered_described_and_ask_a_datasource(file: Path) -> None:
    numbers = [panel["id"] for panel in load(file)["panels"]]
    assert len(set(numbers)) == len(numbers)
    for panel in panels(file):
        assert panel["description"].endswith("."), panel["title"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert panel["options"] is not None
        references = [target["refId"] for target in panel["targets"]]
        assert references
        assert all(references)
        assert len(set(references)) == len(references)
        assert all(target["datasource"] == panel["datasource"] for target in panel["targets"])


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_panels_keep_within_the_grid_and_off_each_other(file: Path) -> None:
    places = [panel["gridPos"] for panel in load(file)["panels"]]
    for place in places:
        assert place["x"] >= 0
        assert place["x"] + place["w"] <= COLUMNS
    for one, other in combinations(places, 2):
        is_beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        is_below = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert is_beside or is_below, (one, other)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_variables_are_there_and_offer_all(file: Path) -> None:
    board = load(file)
    variables = {each["name"]: each for each in board["templating"]["list"]}
    assert set(variables) == VARIABLES
    for name in VARIABLES - {"datasource"}:
        each = variables[name]
        assert each["multi"]
        assert each["includeAll"]
        assert each["allValue"] == ".*"
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(board["panels"])))
    assert used <= VARIABLES | BUILT_IN
    assert board["links"][0]["tags"] == board["tags"] == ["dvd"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_query_is_of_the_chosen_model(file: Path) -> None:
    for panel in panels(file):
        for target in panel["targets"]:
            expr = target["expr"]
            selectors = re.findall(r"\{([^}]*)\}", expr)
            assert selectors
            assert all('model_name=~"$model_name"' in each for each in selectors), panel["title"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_metric_and_label_is_exported_by_somebody(file: Path) -> None:
    known = documented_metrics()
    for panel in panels(file):
        for target in panel["targets"]:
            for name, labels in metrics_used(target["expr"]).items():
                assert name in known, panel["title"]
                assert labels <= known[name], (panel["title"], name)


def test_statuses_have_colours_of_their_own_wherever_they_are_drawn() -> None:
    found = 0
    for file in FILES:
        for panel in panels(file):
            if any("{{status}}" in target["legendFormat"] for target in panel["targets"]):
                fixed = {
                    each["matcher"]["options"]: each["properties"][0]["value"]["fixedColor"]
                    for each in panel["fieldConfig"]["overrides"]
                }
                assert fixed == STATUS_COLOURS, panel["title"]
                assert sum(colour == fixed["OK"] for colour in fixed.values()) == 1
                found += 1
    assert found == 2


def test_every_status_that_a_request_can_end_with_has_a_colour() -> None:
    wanted = {
        kind.code.name
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.DvdError)
    }
    # Those of what a client never sees: features, slots.
    assert wanted - {"NOT_FOUND", "ALREADY_EXISTS"} <= set(STATUS_COLOURS)
