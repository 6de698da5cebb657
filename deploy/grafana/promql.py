"""The shapes of query that the dashboards are made of."""

from deploy.grafana.board import SELECTOR

WINDOW = "$__rate_interval"


def rate(metric: str, *labels: str, where: str = SELECTOR) -> str:
    """Growth of a counter a second, added up over all but these labels."""
    return f"sum{_by(labels)} (rate({metric}{{{where}}}[{WINDOW}]))"


def total(gauge: str, *labels: str, where: str = SELECTOR) -> str:
    """A gauge, added up over all but these labels."""
    return f"sum{_by(labels)} ({gauge}{{{where}}})"


def highest(gauge: str, *labels: str, where: str = SELECTOR) -> str:
    """A gauge, the highest over all but these labels."""
    return f"max{_by(labels)} ({gauge}{{{where}}})"


def quantile(share: float, histogram: str, *labels: str, where: str = SELECTOR) -> str:
    """The value of a histogram that this share of what was observed does not pass."""
    buckets = rate(f"{histogram}_bucket", "le", *labels, where=where)
    return f"histogram_quantile({share}, {buckets})"


def mean(histogram: str, *labels: str, where: str = SELECTOR) -> str:
    """The mean of what a histogram observed."""
    above = rate(f"{histogram}_sum", *labels, where=where)
    return f"{above} / {rate(f'{histogram}_count', *labels, where=where)}"


def share(part: str, whole: str) -> str:
    """One query divided by another; 0 where there is nothing to divide by."""
    return f"({part}) / (({whole}) > 0) or 0 * ({whole})"


def _by(labels: tuple[str, ...]) -> str:
    return f" by ({', '.join(labels)})" if labels else ""
