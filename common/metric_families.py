"""Plain numbers as metrics: what collectors of all processes are made of."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.registry import Collector

from common.distribution import Distribution


def counter(name: str, text: str, value: float) -> CounterMetricFamily:
    """A counter of its own."""
    return CounterMetricFamily(name, text, value=value)


def counters(name: str, text: str, label: str, values: Mapping[str, float]) -> CounterMetricFamily:
    """A counter for each value of one label."""
    family = CounterMetricFamily(name, text, labels=[label])
    for label_value, value in values.items():
        family.add_metric([label_value], value)
    return family


def gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    """A gauge of its own."""
    return GaugeMetricFamily(name, text, value=value)


def histogram(name: str, text: str, values: Distribution) -> HistogramMetricFamily:
    """A histogram of its own."""
    family = HistogramMetricFamily(name, text)
    _add(family, [], values)
    return family


def histograms(
    name: str, text: str, label: str, values: Mapping[str, Distribution]
) -> HistogramMetricFamily:
    """A histogram for each value of one label."""
    family = HistogramMetricFamily(name, text, labels=[label])
    for label_value, each in values.items():
        _add(family, [label_value], each)
    return family


def stage_busy(seconds: Mapping[str, float]) -> CounterMetricFamily:
    """For how long each stage of a process was at work; all processes use the one name."""
    return counters(
        "dvd_stage_busy_seconds", "Time in which a stage was at work.", "stage", seconds
    )


@dataclass(frozen=True, slots=True)
class BuildInfo:
    """What runs in a process.

    Attributes:
        model: Served name.
        fingerprint: Of the model.
        device: Of the replica; empty where there is none.
    """

    model: str = ""
    fingerprint: str = ""
    device: str = ""


class BuildCollector(Collector):
    """Exports the one series that says what runs here."""

    def __init__(self, build: Callable[[], BuildInfo]) -> None:
        self._version = version("dvd-serving")
        self._build = build

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Tell."""
        labels = ["version", "model", "fingerprint", "device"]
        family = GaugeMetricFamily("dvd_build_info", "What runs here.", labels=labels)
        build = self._build()
        family.add_metric([self._version, build.model, build.fingerprint, build.device], 1)
        yield family


def process_registry(build: Callable[[], BuildInfo]) -> CollectorRegistry:
    """A registry with what every process exports: what it runs, and its CPU, memory and files."""
    registry = CollectorRegistry()
    registry.register(BuildCollector(build))
    ProcessCollector(registry=registry)
    return registry


def _add(family: HistogramMetricFamily, labels: list[str], values: Distribution) -> None:
    count, buckets = 0, []
    # Read once, so that the last bucket is the number of values, whoever notes more meanwhile.
    for bound, more in zip((*values.bounds, math.inf), list(values.counts), strict=True):
        count += more
        buckets.append(("+Inf" if bound == math.inf else str(bound), count))
    family.add_metric(labels, buckets, values.total)
