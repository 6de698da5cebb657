"""Read what a process exports."""

import urllib.request

from prometheus_client.parser import text_string_to_metric_families


def scrape(address: str) -> dict[str, float]:
    """Every sample of a process, by name and labels."""
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as response:
        text = response.read().decode()
    return {
        sample.name + "".join(f" {value}" for value in sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
