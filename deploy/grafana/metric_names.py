"""Which metrics, and which of their labels, a PromQL expression rests on.

No parser: what our own queries are made of, and no more. So that a dashboard or a rule which asks
for what nobody exports is found without a Prometheus.
"""

import re
from collections.abc import Iterator, Mapping

METRIC = re.compile(r"\b(?:dvd[_:]|ray_|up\b|process_)[A-Za-z0-9_:]*(?![A-Za-z0-9_:(])")
SELECTED = re.compile(r"\{([^}]*)\}")
LABEL = re.compile(r'(\w+)\s*(?:=~|!~|!=|=)\s*"')
GROUPED = re.compile(r"\b(?:by|on|ignoring)\s*\(([^)]*)\)\s*")


def metrics_used(expr: str) -> Mapping[str, frozenset[str]]:
    """Find every metric of an expression.

    Args:
        expr: PromQL, with or without a dashboard's variables.

    Returns:
        For each metric the labels that it must have.
    """
    found: dict[str, set[str]] = {}
    for name, labels in _named(expr):
        found.setdefault(name, set()).update(labels)
    return {name: frozenset(labels) for name, labels in found.items()}


def _named(expr: str) -> Iterator[tuple[str, set[str]]]:
    # Label values may hold anything, and so look like metrics.
    bare = re.sub(r'"[^"]*"', lambda text: '"' + " " * (len(text[0]) - 2) + '"', expr)
    groups = list(_groups(bare))
    for match in METRIC.finditer(bare):
        if _is_label(bare, match.start()):
            continue
        selected = SELECTED.match(bare, match.end())
        labels = set(LABEL.findall(selected[1])) if selected else set()
        for start, end, grouped in groups:
            if start <= match.start() < end:
                labels |= grouped
        yield match[0], labels


def _groups(expr: str) -> Iterator[tuple[int, int, set[str]]]:
    """Where each `by (...)` holds, and what it names."""
    for match in GROUPED.finditer(expr):
        labels = {label.strip() for label in match[1].split(",") if label.strip()}
        start = match.end()
        if start < len(expr) and expr[start] == "(":
            yield start, _closing(expr, start), labels


def _closing(expr: str, start: int) -> int:
    depth = 0
    for place in range(start, len(expr)):
        depth += {"(": 1, ")": -1}.get(expr[place], 0)
        if not depth:
            return place
    return len(expr)


def _is_label(expr: str, place: int) -> bool:
    """Whether a name stands within braces."""
    return expr.rfind("{", 0, place) > expr.rfind("}", 0, place)
