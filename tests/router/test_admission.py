"""Bounds on what is outstanding."""

import math
from contextlib import ExitStack, suppress
from dataclasses import astuple, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import OverloadedError
from router.admission import Admission, AdmissionBounds
from router.requests import RequestCost
from router.standing import Refusal, Standing

BOUNDS = AdmissionBounds(
    requests=3, cost=RequestCost(tiles=10, tokens=100, image_bytes=1000), retry_after_seconds=2.5
)
COSTS = st.builds(
    RequestCost,
    tiles=st.integers(0, 6),
    tokens=st.integers(0, 60),
    image_bytes=st.integers(0, 600),
)
NOTHING = RequestCost(0, 0, 0)


def outstanding(admission: Admission) -> tuple[int, int, int, int]:
    return (admission.requests, admission.tiles, admission.tokens, admission.image_bytes)


def refusal(held: RequestCost, wanted: RequestCost) -> str:
    admission = Admission(BOUNDS)
    with admission.admit(held):
        before = outstanding(admission)
        with pytest.raises(OverloadedError) as caught, admission.admit(wanted):
            pass
        assert outstanding(admission) == before
    assert caught.value.retry_after_seconds == 2.5
    return caught.value.message


def test_a_request_counts_for_the_length_of_its_context() -> None:
    admission = Admission(BOUNDS)
    with admission.admit(RequestCost(1, 2, 3)), admission.admit(RequestCost(4, 5, 6)):
        assert outstanding(admission) == (2, 5, 7, 9)
    assert outstanding(admission) == (0, 0, 0, 0)


@pytest.mark.parametrize(
    ("cost", "expected"),
    [
        (NOTHING, 1 / 3),
        (RequestCost(9, 50, 500), 0.9),
        (RequestCost(1, 50, 100), 0.5),
        (RequestCost(1, 1, 700), 0.7),
        (RequestCost(1, 200, 100), 2.0),
    ],
)
def test_the_load_is_that_of_the_bound_that_is_nearest(cost: RequestCost, expected: float) -> None:
    admission = Admission(BOUNDS)
    assert admission.load == 0
    with admission.admit(cost):
        assert admission.load == pytest.approx(expected)


def test_it_counts_no_more_after_an_error() -> None:
    admission = Admission(BOUNDS)
    with pytest.raises(ValueError, match="inside"), admission.admit(RequestCost(1, 2, 3)):
        raise ValueError("inside")
    assert outstanding(admission) == (0, 0, 0, 0)


@pytest.mark.parametrize(
    ("wanted", "what"),
    [
        (RequestCost(6, 0, 0), "tiles"),
        (RequestCost(0, 51, 0), "tokens"),
        (RequestCost(0, 0, 501), "picture bytes"),
    ],
)
def test_beyond_a_bound_it_refuses_and_names_it(wanted: RequestCost, what: str) -> None:
    expected = f"Too many {what} are outstanding; try again later."
    assert refusal(RequestCost(5, 50, 500), wanted) == expected


def test_requests_are_bounded_whatever_they_cost() -> None:
    admission = Admission(BOUNDS)
    with ExitStack() as held:
        for _ in range(3):
            held.enter_context(admission.admit(NOTHING))
        with pytest.raises(OverloadedError, match="Too many requests"):
            held.enter_context(admission.admit(NOTHING))


def test_bounds_may_be_reached() -> None:
    admission = Admission(BOUNDS)
    with admission.admit(RequestCost(5, 50, 500)), admission.admit(RequestCost(5, 50, 500)):
        assert outstanding(admission) == (2, 10, 100, 1000)


def test_a_request_above_a_bound_is_admitted_alone() -> None:
    admission = Admission(BOUNDS)
    huge = RequestCost(99, 999, 9999)
    with admission.admit(huge):
        with pytest.raises(OverloadedError), admission.admit(NOTHING):
            pass
        assert outstanding(admission) == (1, 99, 999, 9999)
    with admission.admit(NOTHING), pytest.raises(OverloadedError), admission.admit(huge):
        pass


@given(costs=st.lists(COSTS, max_size=12), ends=st.lists(st.integers(0, 11), max_size=12))
def test_no_bound_is_ever_exceeded_and_all_ends_at_zero(
    costs: list[RequestCost], ends: list[int]
) -> None:
    admission = Admission(BOUNDS)
    limits = (BOUNDS.requests, *astuple(BOUNDS.cost))
    held: list[ExitStack] = []
    for number, cost in enumerate(costs):
        with suppress(OverloadedError), ExitStack() as stack:
            stack.enter_context(admission.admit(cost))
            held.append(stack.pop_all())
        assert all(now <= most for now, most in zip(outstanding(admission), limits, strict=True))
        if number < len(ends) and ends[number] < len(held):
            held.pop(ends[number]).close()
    for stack in held:
        stack.close()
    assert outstanding(admission) == (0, 0, 0, 0)


class Door:
    """An admission of two requests at most, on a clock of its own, that tells its refusals."""

    def __init__(self, expected_seconds: float = 0.0, priority_share: float = 0.0) -> None:
        self.now = 0.0
        self.refusals: list[Refusal] = []
        bounds = replace(BOUNDS, requests=4, priority_share=priority_share)
        self.admission = Admission(bounds, lambda _: expected_seconds, lambda: self.now)
        self.admission.on_refusal = self.refusals.append
        self.held = ExitStack()

    def asks(self, tenant: str = "", priority: int = 0, seconds_left: float = math.inf) -> bool:
        """Ask for one request that then runs on; whether it was admitted."""
        standing = Standing(tenant, priority, seconds_left)
        try:
            self.held.enter_context(self.admission.admit(NOTHING, standing))
        except OverloadedError:
            return False
        return True


def test_the_last_part_of_the_bounds_is_for_higher_priority() -> None:
    door = Door(priority_share=0.25)
    asked = [door.asks(), door.asks(), door.asks(), door.asks(), door.asks(priority=1)]
    assert asked == [True, True, True, False, True]
    assert not door.asks(priority=1)
    assert door.refusals == [Refusal.REQUESTS] * 2


def test_a_tenant_that_takes_all_gives_way_to_another_one() -> None:
    door = Door()
    greedy = [ExitStack() for _ in range(4)]
    for stack in greedy:
        stack.enter_context(door.admission.admit(NOTHING, Standing("greedy")))
    assert not door.asks("late")
    greedy[0].close()
    assert not door.asks("greedy")
    assert door.asks("late")
    assert door.refusals == [Refusal.REQUESTS, Refusal.TENANT]


def test_what_cannot_end_by_its_deadline_is_refused_at_once_with_the_excess_as_delay() -> None:
    door = Door(expected_seconds=8.0)
    assert door.asks(seconds_left=1.0)  # nothing else is outstanding: the estimate may be wrong
    with pytest.raises(OverloadedError, match="cannot end by its deadline") as caught:
        door.held.enter_context(door.admission.admit(NOTHING, Standing(seconds_left=5.0)))
    assert caught.value.retry_after_seconds == pytest.approx(3.0)
    assert door.asks(seconds_left=9.0)
    assert door.asks(priority=1, seconds_left=5.0)
    assert door.refusals == [Refusal.DEADLINE]


def test_the_delay_follows_from_how_fast_requests_end() -> None:
    door = Door()
    for _ in range(200):
        with door.admission.admit(NOTHING):
            door.now += 0.25
    while door.asks():
        pass
    with pytest.raises(OverloadedError) as caught, door.admission.admit(NOTHING):
        pass
    assert caught.value.retry_after_seconds == pytest.approx(0.5, rel=0.1)


@pytest.mark.parametrize(
    ("wanted", "cause"),
    [
        (RequestCost(6, 0, 0), Refusal.TILES),
        (RequestCost(0, 51, 0), Refusal.TOKENS),
        (RequestCost(0, 0, 501), Refusal.IMAGE_BYTES),
    ],
)
def test_every_refusal_is_told_by_its_cause(wanted: RequestCost, cause: Refusal) -> None:
    door = Door()
    with ExitStack() as held:
        held.enter_context(door.admission.admit(RequestCost(5, 50, 500)))
        with pytest.raises(OverloadedError):
            held.enter_context(door.admission.admit(wanted))
    assert door.refusals == [cause]


def test_a_check_refuses_what_any_cost_would_exceed_and_holds_nothing() -> None:
    door = Door()
    door.admission.check(Standing())
    assert outstanding(door.admission) == (0, 0, 0, 0)
    while door.asks():
        pass
    with pytest.raises(OverloadedError, match="Too many requests"):
        door.admission.check(Standing())
    assert door.refusals == [Refusal.REQUESTS] * 2
