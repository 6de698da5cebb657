"""Variables filled in, legends, and what counts as data."""

import math

import pytest

from deploy.grafana.drawing.answers import Asking, Named, ask, has_data, is_alive, legend_of
from deploy.grafana.drawing.document import Panel, Place, Target
from deploy.grafana.drawing.prometheus import Prometheus, Series, Window
from tests.deploy.grafana.canned_prometheus import canned_prometheus, matrix


def asking(step: float = 1.0, scrape: float = 10.0, **chosen: str) -> Asking:
    return Asking(Window(1000.0, 1600.0, step), scrape, chosen)


@pytest.mark.parametrize(
    ("step", "scrape", "expected"), [(1, 10, 40), (60, 10, 70), (1, 1, 4), (7.5, 2, 10)]
)
def test_the_rate_interval_spans_four_scrapes_at_least(
    step: float, scrape: float, expected: int
) -> None:
    assert asking(step, scrape).rate_interval_seconds == expected


def test_variables_are_filled_in() -> None:
    expr = 'rate(a{m=~"$model_name",r=~"${role}"}[$__rate_interval]) + b[$__range] + c[$__interval]'
    filled = asking(role="vision").filled(expr)
    assert filled == 'rate(a{m=~".*",r=~"vision"}[40s]) + b[600s] + c[1s]'


def test_legends_take_labels_and_leave_out_what_is_missing() -> None:
    assert legend_of("{{role}}, {{ state }} {{none}}", {"role": "vision", "state": "up"}) == (
        "vision, up"
    )


def named(*values: float) -> Named:
    return Named("x", Series({}, tuple(range(len(values))), values))


def panel_of(*targets: Target) -> Panel:
    return Panel(
        "timeseries", "t", Place(0, 0, 1, 1), targets, "s", None, None, (), {}, False, 0.0, {},
    )  # fmt: skip


def test_a_panel_is_alive_when_every_query_has_numbers_to_the_end() -> None:
    window = Window(0.0, 9.0, 1.0)
    one, two = panel_of(Target("a", "")), panel_of(Target("a", ""), Target("b", ""))

    def answer(query: int, *points: tuple[float, float]) -> Named:
        return Named("x", Series({}, *zip(*points, strict=True)), query)

    late, early, none = answer(0, (6.0, 0.0)), answer(0, (5.9, 1.0)), answer(0, (8.0, math.nan))
    assert [is_alive(one, [each], window) for each in (late, early, none)] == [True, False, False]
    assert is_alive(one, [none, late], window)
    assert not is_alive(one, [], window)
    assert not is_alive(two, [late, answer(1, (2.0, 1.0))], window)
    assert is_alive(two, [late, answer(1, (9.0, 1.0))], window)


def test_data_is_a_number_that_is_one() -> None:
    assert not has_data([])
    assert not has_data([named(math.nan, math.inf)])
    assert has_data([named(math.nan), named(0.0)])


def test_the_last_value_is_the_last_number() -> None:
    assert named(1.0, 2.0, math.nan).last == 2.0
    assert named(math.nan).last is None


def test_every_target_of_a_panel_is_asked() -> None:
    targets = (Target("a", "one"), Target('b{role="$role"}', "{{role}}"))
    panel = panel_of(*targets)
    asked = []

    def answer(_: str, arguments: dict[str, str]) -> object:
        asked.append(arguments["query"])
        return matrix(({"role": "vision"}, [(1000, "1")]))

    with canned_prometheus(answer) as address:
        found = ask(Prometheus(address), panel, asking())
    assert asked == ["a", 'b{role=".*"}']
    assert [answer.name for answer in found] == ["one", "vision"]
