"""Read what a process exports."""

import urllib.request
from dataclasses import dataclass

from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families


@dataclass(frozen=True)
class SampleName:
    """What tells one sample of a process from another."""

    name: str
    labels: tuple[tuple[str, str], ...]


def scrape(address: str) -> dict[str, float]:
    """Every sample of a process, by name and labels."""
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as response:
        text = response.read().decode()
    return {
        sample.name + "".join(f" {value}" for value in sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


class Risen:
    """How far what several processes count has risen since this was made.

    Args:
        registries: Of the processes; equal samples of them are added up.
    """

    def __init__(self, *registries: CollectorRegistry) -> None:
        self._registries = registries
        self._before = self._now()

    def of(self, name: str, **labels: str) -> float:
        """Rise of one sample, or of all that have these labels among theirs."""
        return sum(self.series(name, **labels).values())

    def series(self, name: str, **labels: str) -> dict[tuple[str, ...], float]:
        """Rises of a metric's series by the values of their labels, those that rose alone."""
        rises = {}
        for sample, value in self._now().items():
            rise = value - self._before.get(sample, 0.0)
            if sample.name == name and labels.items() <= dict(sample.labels).items() and rise:
                rises[tuple(value for _, value in sample.labels)] = rise
        return rises

    def _now(self) -> dict[SampleName, float]:
        sums: dict[SampleName, float] = {}
        for registry in self._registries:
            for family in registry.collect():
                for sample in family.samples:
                    name = SampleName(sample.name, tuple(sample.labels.items()))
                    sums[name] = sums.get(name, 0.0) + sample.value
        return sums
