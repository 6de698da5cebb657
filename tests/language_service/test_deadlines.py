"""Requests are due in the order of their deadlines, once, and only those that have one."""

import math

from hypothesis import given
from hypothesis import strategies as st

from language_service.deadlines import Deadlines, Due

TIMES = st.floats(0, 100)


@given(st.lists(TIMES | st.just(math.inf)), st.lists(TIMES))
def test_each_is_due_once_and_in_order(deadlines: list[float], looks: list[float]) -> None:
    now, seen = 0.0, []
    kept = Deadlines(lambda: now)
    for arrival, at in enumerate(deadlines):
        kept.add(Due(at, arrival, f"r{arrival}"))
    for look in [*sorted(looks), 100.0]:
        before, now = now, look
        due = list(kept.passed())
        assert all(before <= each.at <= now for each in due)
        seen += due
    assert seen == sorted(seen)
    assert [each.arrival for each in seen] == [
        arrival for _, arrival in sorted((at, n) for n, at in enumerate(deadlines) if at < math.inf)
    ]
