"""Asks a Prometheus over its HTTP API.

Shapes of its answers: https://prometheus.io/docs/prometheus/latest/querying/api/
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from typing import Any
from urllib.parse import urlencode

from common.errors import InvalidRequestError, UnavailableError

TIMEOUT_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Window:
    """Of when to ask.

    Attributes:
        start_seconds: Since the epoch.
        end_seconds: Since the epoch.
        step_seconds: Between two values.
    """

    start_seconds: float
    end_seconds: float
    step_seconds: float


@dataclass(frozen=True, slots=True)
class Series:
    """Values of one set of labels.

    Attributes:
        labels: Its labels, the name among them.
        times: Seconds since the epoch, ascending.
        values: One a time; NaN where there was nothing to divide by.
    """

    labels: Mapping[str, str]
    times: tuple[float, ...]
    values: tuple[float, ...]


class Prometheus:
    """A running Prometheus.

    Args:
        address: `host:port`.
    """

    def __init__(self, address: str) -> None:
        self._address = address

    def query_range(self, expr: str, window: Window) -> list[Series]:
        """Evaluate an expression over a window.

        Raises:
            InvalidRequestError: It is not PromQL.
            UnavailableError: There is no Prometheus, or it failed.
        """
        found = self._get(
            "/api/v1/query_range",
            query=expr,
            start=f"{window.start_seconds:.3f}",
            end=f"{window.end_seconds:.3f}",
            step=f"{window.step_seconds:.3f}",
        )
        return [_series(entry) for entry in found["result"]]

    def labels_of(self, metric: str) -> frozenset[str]:
        """Names of the labels that any series of a metric has; empty where there is none.

        Raises:
            UnavailableError: There is no Prometheus, or it failed.
        """
        found = self._get("/api/v1/series", **{"match[]": metric})
        return frozenset(label for labels in found for label in labels)

    def targets_up(self, job: str) -> Mapping[str, bool]:
        """Whether each target of a job answered its last scrape, by its URL.

        Raises:
            UnavailableError: There is no Prometheus, or it failed.
        """
        found = self._get("/api/v1/targets", state="active")
        targets = (each for each in found["activeTargets"] if each["labels"]["job"] == job)
        return {each["scrapeUrl"]: each["health"] == "up" for each in targets}

    def _get(self, path: str, **arguments: str) -> Any:
        connection = HTTPConnection(self._address, timeout=TIMEOUT_SECONDS)
        try:
            connection.request("GET", f"{path}?{urlencode(arguments)}")
            document = json.loads(connection.getresponse().read())
        except (OSError, HTTPException, ValueError) as cause:
            raise UnavailableError(f"No Prometheus answers at {self._address}.") from cause
        finally:
            connection.close()
        if document["status"] != "success":
            message = f"Prometheus says: {document.get('error', 'no reason')}."
            is_ours = document.get("errorType") == "bad_data"
            raise InvalidRequestError(message) if is_ours else UnavailableError(message)
        return document["data"]


def _series(entry: Mapping[str, Any]) -> Series:
    times, values = zip(*entry["values"], strict=True)
    return Series(entry["metric"], tuple(map(float, times)), tuple(map(float, values)))
