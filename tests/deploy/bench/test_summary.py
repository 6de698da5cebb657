"""What a load comes to, against timelines made by hand and definitions written out."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import ConfigError
from deploy.bench.door import TokenUse
from deploy.bench.exchange import Arrival, Exchange
from deploy.bench.objectives import Objective, parse_objectives
from deploy.bench.summary import distribution, parse_percents, summarise
from tests.deploy.bench.timelines import STAGES, answered, failed

TIMES = st.lists(st.floats(min_value=0, max_value=1e4), min_size=1, max_size=50)


def test_times_of_one_answer() -> None:
    exchange = answered(10.0, 10.5, 10.7, 11.1, ended_at=11.3)
    assert exchange.ttft_seconds == pytest.approx(0.5)
    assert exchange.itl_seconds == pytest.approx([0.2, 0.4])
    assert exchange.e2el_seconds == pytest.approx(1.3)
    assert exchange.tpot_seconds == pytest.approx((1.3 - 0.5) / 2)


def test_a_message_of_several_tokens_is_as_many_equal_gaps() -> None:
    exchange = Exchange(
        0.0, 1.0, (Arrival(0.2, 1), Arrival(0.8, 3), Arrival(1.0, 1)), use=TokenUse()
    )
    assert exchange.itl_seconds == pytest.approx([0.2, 0.2, 0.2, 0.2])


def test_one_token_has_no_time_per_output_token() -> None:
    exchange = answered(0.0, 0.5)
    assert exchange.tpot_seconds is None
    assert exchange.itl_seconds == []


def test_an_answer_without_tokens_counts_to_its_end() -> None:
    exchange = Exchange(1.0, 1.5, use=TokenUse(text_tokens=3))
    assert exchange.ttft_seconds == pytest.approx(0.5)


def test_rates_are_over_the_time_from_first_sending_to_last_end() -> None:
    exchanges = [answered(1.0, 2.0, 2.5), answered(2.0, 3.0, 4.0, 5.0)]
    summary = summarise(exchanges, (), (50.0,))
    assert summary.duration_seconds == pytest.approx(4.0)
    assert (summary.completed, summary.failed) == (2, 0)
    assert summary.per_second(summary.completed) == pytest.approx(0.5)
    assert summary.per_second(summary.tokens.output) == pytest.approx(5 / 4)
    assert summary.tokens.prompt == 20
    assert summary.ttft.mean_ms == pytest.approx(1000)
    assert summary.e2el.median_ms == pytest.approx(2250)
    assert summary.tpot.mean_ms == pytest.approx((500 + 1000) / 2)
    assert summary.itl.mean_ms == pytest.approx((500 + 1000 + 1000) / 3)
    assert summary.met_objectives is None


def test_what_failed_or_was_cut_off_is_counted_and_has_no_times() -> None:
    exchanges = [
        answered(0.0, 1.0),
        failed(0.0, 9.0, "RESOURCE_EXHAUSTED"),
        failed(0.0, 0.1, "RESOURCE_EXHAUSTED"),
        failed(0.0, 0.1, "UNAVAILABLE"),
        Exchange(0.0, 10.0, (Arrival(1.0, 5),), is_cut_off=True),
    ]
    summary = summarise(exchanges, (Objective("e2el", 2000),), (99.0,))
    assert (summary.completed, summary.failed, summary.cut_off) == (1, 3, 1)
    assert [(error.code, error.count) for error in summary.errors] == [
        ("RESOURCE_EXHAUSTED", 2),
        ("UNAVAILABLE", 1),
    ]
    assert summary.e2el.mean_ms == pytest.approx(1000)
    assert summary.tokens.output == 1
    assert summary.met_objectives == 1


def test_peaks() -> None:
    exchanges = [
        answered(0.0, 0.2, 0.4, 1.5, tokens=10),
        answered(1.0, 1.6, tokens=7),
        answered(1.5, 1.9),
    ]
    summary = summarise(exchanges, (), ())
    assert summary.peak_output_tokens == 20
    assert summary.peak_concurrency == 2  # the third begins as the first ends


def test_the_peak_has_the_tokens_that_no_event_told() -> None:
    """Over HTTP an event does not tell how many tokens it brings, and some bring no text."""
    told = replace(answered(0.0, 0.2, 0.4), use=TokenUse(10, output_tokens=24))
    untold = Exchange(0.0, 0.9, use=TokenUse(10, output_tokens=6))
    assert summarise([told, untold], (), ()).peak_output_tokens == 30


def test_pictures_tokens_and_stages_are_of_answered_requests() -> None:
    use = TokenUse(5, 40, 160, 10, 6, 3, 2)
    picture = replace(answered(0.0, 2.0, 3.0), use=use, num_pictures=2, stages=STAGES)
    seen = replace(picture, repeats_pictures=True, stages=replace(STAGES, vit=0.01))
    lost = replace(failed(0.0, 4.0, "INTERNAL"), num_pictures=2)
    summary = summarise([picture, seen, lost], (), ())
    assert (summary.num_pictures, summary.num_repeated) == (4, 2)
    assert summary.per_second(summary.num_pictures) == pytest.approx(1.0)
    assert (summary.tokens.visual, summary.tokens.visual_before) == (80, 320)
    assert (summary.tokens.tiles, summary.tokens.compressed_tiles) == (20, 12)
    assert summary.stages is not None
    assert summary.stages.vit == pytest.approx(0.02)
    assert summary.stages.decode == pytest.approx(0.08)


def test_a_load_that_never_began_is_all_zero() -> None:
    summary = summarise([], (Objective("ttft", 1),), (50.0, 99.0))
    assert (summary.completed, summary.met_objectives, summary.duration_seconds) == (0, 0, 0)
    assert summary.per_second(0) == 0
    assert [each.value_ms for each in summary.ttft.percentiles] == [0, 0]
    assert summary.stages is None


@given(TIMES, st.floats(min_value=0, max_value=100))
def test_a_percentile_stands_between_the_right_neighbours(
    seconds: list[float], percent: float
) -> None:
    """Rank percent/100·(n-1) among the sorted values, linear in between."""
    (found,) = distribution(seconds, [percent]).percentiles
    ordered = sorted(1000 * each for each in seconds)
    rank = percent / 100 * (len(ordered) - 1)
    below, above = ordered[int(rank)], ordered[min(int(rank) + 1, len(ordered) - 1)]
    assert found.value_ms == pytest.approx(below + (rank - int(rank)) * (above - below), abs=1e-3)


@given(TIMES)
def test_percentiles_never_fall(seconds: list[float]) -> None:
    values = [each.value_ms for each in distribution(seconds, range(0, 101, 10)).percentiles]
    assert all(a <= b + 1e-6 for a, b in pairwise(values))
    assert values[0] == pytest.approx(1000 * min(seconds))
    assert values[-1] == pytest.approx(1000 * max(seconds))


ANSWERS = st.builds(
    lambda sent, gaps: answered(sent, *(sent + sum(gaps[: i + 1]) for i in range(len(gaps)))),
    st.floats(min_value=0, max_value=100),
    st.lists(st.floats(min_value=1e-3, max_value=10), min_size=1, max_size=8),
)


@given(st.lists(ANSWERS, max_size=20), st.floats(1, 1e4), st.floats(1, 1e4), st.floats(1, 1e4))
def test_goodput_counts_who_kept_every_objective(
    exchanges: list[Exchange], ttft: float, tpot: float, e2el: float
) -> None:
    objectives = parse_objectives([f"ttft:{ttft!r} tpot:{tpot!r}", f"e2el:{e2el!r}"])
    kept = summarise(exchanges, objectives, ()).met_objectives
    expected = 0
    for exchange in exchanges:
        times = [arrival.at_seconds for arrival in exchange.arrivals]
        first, last = times[0] - exchange.sent_at_seconds, times[-1] - exchange.sent_at_seconds
        per_token = (last - first) / (len(times) - 1) if len(times) > 1 else 0.0
        expected += first * 1000 <= ttft and per_token * 1000 <= tpot and last * 1000 <= e2el
    assert kept == expected


@given(st.lists(ANSWERS, max_size=20), st.floats(1, 1e4), st.floats(1, 1e4))
def test_a_stricter_objective_never_has_more_goodput(
    exchanges: list[Exchange], one: float, other: float
) -> None:
    strict, lax = (
        summarise(exchanges, (Objective("e2el", limit),), ()).met_objectives or 0
        for limit in sorted((one, other))
    )
    assert strict <= lax <= len(exchanges)


@pytest.mark.parametrize("word", ["ttft", "ttft:", "ttft:x", "ttft:0", "itl:5", "e2el:-1", ":5"])
def test_an_objective_that_is_none_is_told(word: str) -> None:
    with pytest.raises(ConfigError, match=f"--goodput takes .* not {word}"):
        parse_objectives([f"tpot:5 {word}"])


def test_percentiles_are_read() -> None:
    assert parse_percents("50,90,99.9") == (50, 90, 99.9)


@pytest.mark.parametrize("text", ["", "a", "101", "-1", "50,,99", "nan"])
def test_percentiles_that_are_none_are_told(text: str) -> None:
    with pytest.raises(ConfigError, match="--metric-percentiles takes numbers from 0 to 100"):
        parse_percents(text)
