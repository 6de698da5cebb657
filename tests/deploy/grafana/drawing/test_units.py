"""Values as text, and round ticks."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.grafana.drawing.units import SCALES, text_of, ticks

UNITS = [*SCALES, "suffix: tok/s"]


@pytest.mark.parametrize(
    ("value", "unit", "decimals", "expected"),
    [
        (0.0123, "s", None, "12.3 ms"),
        (0.0, "s", None, "0 s"),
        (90.0, "s", None, "1.5 min"),
        (0.00002, "s", None, "20 us"),
        (1536000.0, "Bps", None, "1.54 MB/s"),
        (0.945, "percentunit", None, "94.5%"),
        (1.0, "percentunit", None, "100%"),
        (1234.0, "suffix: tok/s", 0, "1 K tok/s"),
        (123.4, "suffix: tok/s", 0, "123 tok/s"),
        (4.0, "none", 0, "4"),
        (1.26, "reqps", 1, "1.3 req/s"),
        (20.0, "short", None, "20"),
        (100.0, "short", None, "100"),
    ],
)
def test_text_of(value: float, unit: str, decimals: int | None, expected: str) -> None:
    assert text_of(value, unit, decimals) == expected


@given(st.floats(1e-7, 1e13), st.sampled_from(UNITS), st.integers(2, 10))
def test_ticks_are_even_begin_at_zero_and_cover_the_highest(
    highest: float, unit: str, most: int
) -> None:
    marks = ticks(highest, unit, most)
    steps = [later - earlier for earlier, later in pairwise(marks)]
    assert marks[0] == 0
    assert marks[-1] >= highest * (1 - 1e-6)
    assert marks[-2] < highest
    assert len(marks) <= most + 2
    assert max(steps) - min(steps) < 1e-6 * marks[-1]


def test_ticks_are_round_in_what_is_shown() -> None:
    assert [text_of(mark, "s") for mark in ticks(0.25, "s", 3)] == [
        "0 s", "100 ms", "200 ms", "300 ms"
    ]  # fmt: skip
    assert [text_of(mark, "percentunit") for mark in ticks(1, "percentunit", 4)] == [
        "0%", "25%", "50%", "75%", "100%"
    ]  # fmt: skip
