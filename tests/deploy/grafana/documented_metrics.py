"""Every series that `docs/metrics.md` promises, with the labels that it has once it is scraped."""

import re
from collections.abc import Mapping
from pathlib import Path

METRICS = Path(__file__).parents[3] / "docs/metrics.md"
ROW = re.compile(r"^\| `(dvd_\w+)` \| (\w+) \|([^|]*)\|", re.MULTILINE)
OF_THE_TARGET = frozenset({"job", "instance", "role", "replica", "node", "model_name"})
# Those of prometheus_client and of Prometheus itself.
OTHERS = ("up", "process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds")


def documented_metrics() -> Mapping[str, frozenset[str]]:
    """Labels of every series, by its name; a histogram has three."""
    found = dict.fromkeys(OTHERS, OF_THE_TARGET)
    for name, kind, labels in ROW.findall(METRICS.read_text(encoding="utf-8")):
        own = OF_THE_TARGET | {label.strip() for label in labels.split(",") if label.strip()}
        if kind == "histogram":
            found |= {f"{name}_sum": own, f"{name}_count": own, f"{name}_bucket": own | {"le"}}
        else:
            found[name] = own
    return found
