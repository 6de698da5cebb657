"""The drawn sheet: rates over time against hand-made timelines, axes that end at round numbers."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from deploy.bench.charts import BLUE, NUM_TICKS, draw_histogram, draw_series, nice_limit
from deploy.bench.door import TokenUse
from deploy.bench.exchange import Exchange
from deploy.bench.plot import NUM_STEPS, tokens_per_second, under_way
from deploy.paper import Box, Paper
from tests.deploy.bench.timelines import answered


def test_tokens_fall_into_the_step_they_came_in() -> None:
    exchanges = [answered(10.0, 10.05, 69.99, tokens=3), answered(20.0, 30.5)]
    rates = tokens_per_second(exchanges, float(NUM_STEPS))
    assert {index: rate for index, rate in enumerate(rates) if rate} == {0: 3, 20: 1, 59: 3}


def test_rates_add_up_to_the_tokens_that_the_server_counts() -> None:
    told = replace(answered(0.0, 0.5, 1.5), use=TokenUse(10, output_tokens=24))
    untold = Exchange(0.0, 3.5, use=TokenUse(10, output_tokens=6))
    rates = tokens_per_second([told, untold], float(NUM_STEPS))
    assert rates[:4] == pytest.approx([12, 12, 0, 6])


def test_requests_under_way_are_means_over_the_step() -> None:
    exchanges = [answered(0.0, 2.5), answered(1.5, 60.0)]
    means = under_way(exchanges, float(NUM_STEPS))
    assert means[:4] == pytest.approx([1.0, 1.5, 1.5, 1.0])
    assert means[-1] == pytest.approx(1.0)


EXCHANGES = st.builds(
    lambda sent, length: answered(sent, sent + length),
    st.floats(min_value=0, max_value=50),
    st.floats(min_value=0, max_value=50),
)


@given(st.lists(EXCHANGES, min_size=1, max_size=20))
def test_nothing_is_lost_between_steps(exchanges: list[Exchange]) -> None:
    first = min(exchange.sent_at_seconds for exchange in exchanges)
    seconds = max(exchange.ended_at_seconds for exchange in exchanges) - first
    step = seconds / NUM_STEPS
    busy = sum(exchange.e2el_seconds for exchange in exchanges)
    if seconds > 1e-6:
        assert sum(tokens_per_second(exchanges, seconds)) * step == pytest.approx(len(exchanges))
        assert sum(under_way(exchanges, seconds)) * step == pytest.approx(busy, abs=1e-6)


def test_a_load_that_took_no_time_has_no_rates() -> None:
    assert tokens_per_second([], 0.0) == under_way([], 0.0) == [0.0] * NUM_STEPS


@given(st.floats(min_value=1e-6, max_value=1e9))
def test_an_axis_ends_a_little_above_the_largest_value(value: float) -> None:
    assert value * (1 - 1e-5) <= nice_limit(value) <= 1.7 * value


@given(st.integers(min_value=0, max_value=10**6))
def test_counts_have_whole_ticks(count: int) -> None:
    limit = nice_limit(count, is_count=True)
    assert limit >= max(count, 1)
    assert (limit / NUM_TICKS) % 1 == 0


def blue_heights(image: Image.Image, area: Box) -> list[int]:
    """Pixels of blue in each column of the chart."""
    return [
        sum(image.getpixel((x, y)) == BLUE for y in range(area.top, area.bottom))
        for x in range(area.left, area.right)
    ]


def test_a_series_is_as_high_as_its_values() -> None:
    paper, box = Paper(500, 300), Box(10, 10, 490, 290)
    draw_series(paper, box, "Rate", [0.0, 2.0, 4.0, 8.0], 4.0)
    heights = blue_heights(paper.image, box)
    quarter = (box.right - 68) // 4
    first, second, third, fourth = (heights[58 + quarter * i + quarter // 2] for i in range(4))
    assert first == 0
    assert third == pytest.approx(2 * second, abs=2)
    assert fourth == pytest.approx(4 * second, abs=4)


def test_a_histogram_of_nothing_is_empty() -> None:
    paper, box = Paper(500, 300), Box(10, 10, 490, 290)
    draw_histogram(paper, box, "Times", [], [])
    assert not any(blue_heights(paper.image, box))


def test_a_histogram_has_every_value() -> None:
    paper, box = Paper(500, 300), Box(10, 10, 490, 290)
    draw_histogram(paper, box, "Times", [1.0, 1.0, 1.0, 9.9], [])
    heights = [height for height in blue_heights(paper.image, box) if height]
    assert max(heights) == pytest.approx(3 * min(heights), abs=3)
