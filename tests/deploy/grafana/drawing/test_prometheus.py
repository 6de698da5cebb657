"""What is made of a Prometheus's answers."""

import math
from typing import Any

import pytest

from common.errors import InvalidRequestError, UnavailableError
from deploy.grafana.drawing.prometheus import Prometheus, Window
from tests.deploy.grafana.canned_prometheus import Arguments, canned_prometheus, matrix

WINDOW = Window(100.0, 160.0, 15.0)


def test_series_come_with_labels_times_and_values() -> None:
    asked: list[tuple[str, Arguments]] = []

    def answer(path: str, arguments: Arguments) -> Any:
        asked.append((path, arguments))
        return matrix(({"role": "vision"}, [(100, "1.5"), (115, "NaN")]))

    with canned_prometheus(answer) as address:
        (series,) = Prometheus(address).query_range('up{role="vision"}', WINDOW)
    assert series.labels == {"role": "vision"}
    assert series.times == (100.0, 115.0)
    assert series.values[0] == 1.5
    assert math.isnan(series.values[1])
    ((path, arguments),) = asked
    assert path == "/api/v1/query_range"
    assert arguments["query"] == 'up{role="vision"}'
    assert [float(arguments[key]) for key in ("start", "end", "step")] == [100, 160, 15]


def test_labels_of_all_series_are_joined() -> None:
    data = [{"__name__": "up", "role": "vision"}, {"__name__": "up", "job": "ray"}]
    with canned_prometheus(lambda *_: data) as address:
        assert Prometheus(address).labels_of("up") == {"__name__", "role", "job"}


def test_targets_are_up_or_not() -> None:
    targets = [
        {"scrapeUrl": "http://a/metrics", "health": "up", "labels": {"job": "dvd"}},
        {"scrapeUrl": "http://b/metrics", "health": "down", "labels": {"job": "dvd"}},
        {"scrapeUrl": "http://c/metrics", "health": "up", "labels": {"job": "ray"}},
    ]
    with canned_prometheus(lambda *_: {"activeTargets": targets}) as address:
        found = Prometheus(address).targets_up("dvd")
    assert found == {"http://a/metrics": True, "http://b/metrics": False}


def test_a_query_that_is_none_is_told_with_prometheus_own_words() -> None:
    error = {"status": "error", "errorType": "bad_data", "error": "parse error: unexpected }"}
    with (
        canned_prometheus(lambda *_: error) as address,
        pytest.raises(InvalidRequestError, match="unexpected }"),
    ):
        Prometheus(address).query_range("}", WINDOW)


def test_one_that_cannot_answer_now_is_unavailable() -> None:
    error = {"status": "error", "errorType": "timeout", "error": "query timed out"}
    with (
        canned_prometheus(lambda *_: error) as address,
        pytest.raises(UnavailableError, match="timed out"),
    ):
        Prometheus(address).query_range("up", WINDOW)


def test_nobody_there_is_named_by_address() -> None:
    with canned_prometheus(lambda *_: []) as address:
        pass
    with pytest.raises(UnavailableError, match=address):
        Prometheus(address).query_range("up", WINDOW)
