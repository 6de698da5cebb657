"""Which metrics and labels an expression rests on."""

import pytest

from deploy.grafana.metric_names import metrics_used


@pytest.mark.parametrize(
    ("expr", "expected"),
    [
        ("dvd_a", {"dvd_a": set()}),
        ('rate(dvd_a_total{role="x", status=~"y"}[5m])', {"dvd_a_total": {"role", "status"}}),
        ("sum by (le, role) (rate(dvd_a_bucket[1m]))", {"dvd_a_bucket": {"le", "role"}}),
        (
            "sum by (role) (dvd_a) / (sum(dvd_b) > 0)",
            {"dvd_a": {"role"}, "dvd_b": set()},
        ),
        ('dvd_a{role="dvd_fake{}"} == 0', {"dvd_a": {"role"}}),
        ('up{job="dvd"} and dvd:b:rate1m', {"up": {"job"}, "dvd:b:rate1m": set()}),
        ("dvd_a{x='y'} + dvd_a", {"dvd_a": set()}),
        ("sum by (replica) (process_open_fds)", {"process_open_fds": {"replica"}}),
    ],
)
def test_metrics_used(expr: str, expected: dict[str, set[str]]) -> None:
    assert metrics_used(expr) == expected
