"""What a router knows of its replicas: its own placements, and reports that count less with age."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.fleet import OTHERS_AHEAD_SECONDS, OTHERS_PRIOR_SECONDS, Fleet
from router.fleet_member import UNDERWAY_SECONDS, FleetMember, LoadSnapshot
from router.measured_rate import MeasuredRate


def fleet_of(num: int, rate: float = 10.0) -> Fleet:
    """Replicas that are up, at 0 seconds, of so much work a second."""
    fleet = Fleet(seed=1)
    for index in range(num):
        measured(fleet, joined(fleet, str(index)), rate)
    return fleet


def joined(fleet: Fleet, name: str) -> FleetMember:
    member = fleet.join(name, key=hash(name) & 0xFFFF, now=-1.0)
    fleet.set_up(member, is_up=True)
    return member


def measured(fleet: Fleet, member: FleetMember, rate: float) -> None:
    """Let a replica have shown its rate for long, and be idle since 0 seconds."""
    fleet.report(member, LoadSnapshot(0), -1.0)
    fleet.report(member, LoadSnapshot(0, int(1e6 * rate), 1e6), 0.0)
    leave_alone(fleet, member)


def leave_alone(fleet: Fleet, member: FleetMember) -> None:
    """Let no other router have placed anything there lately."""
    member.others_rate = MeasuredRate(1.0)
    fleet.set_up(member, is_up=True)


def backlog(fleet: Fleet, row: int, now: float) -> float:
    return float(fleet.backlogs(now)[row])


def test_what_we_place_counts_in_full_and_at_once() -> None:
    fleet = fleet_of(2)
    placement = fleet.place(fleet.members[0], 20, now=0.0)
    assert [backlog(fleet, row, 0.0) for row in (0, 1)] == pytest.approx([2.0, 0.0], rel=1e-3)
    fleet.finish(fleet.members[0], placement)
    assert backlog(fleet, 0, 0.0) == pytest.approx(0.0, abs=1e-9)


def test_a_report_counts_less_the_older_it_is_and_less_than_what_we_placed_since() -> None:
    fleet = fleet_of(2)
    first, second = fleet.members
    fleet.report(first, LoadSnapshot(20), 10.0)
    fleet.place(second, 20, now=10.0)
    leave_alone(fleet, first)
    assert fleet.backlogs(10.0) == pytest.approx([2.0, 2.0], rel=1e-3)
    assert backlog(fleet, 0, 11.0) == pytest.approx(1.0, rel=1e-3)
    assert backlog(fleet, 1, 11.0) == pytest.approx(2.0, rel=1e-3)


def test_a_report_of_work_that_is_finished_since_counts_no_more() -> None:
    fleet = fleet_of(1)
    member = fleet.members[0]
    placement = fleet.place(member, 20, now=0.0)
    fleet.report(member, LoadSnapshot(20), 1.0)
    assert backlog(fleet, 0, 1.0) == pytest.approx(2.0, rel=1e-3)
    fleet.finish(member, placement)
    assert backlog(fleet, 0, 1.0) == pytest.approx(0.0, abs=1e-9)


def test_what_was_under_way_when_the_report_was_made_is_not_forgotten() -> None:
    fleet = fleet_of(1)
    fleet.place(fleet.members[0], 20, now=1.0)
    fleet.report(fleet.members[0], LoadSnapshot(0), 1.0 + UNDERWAY_SECONDS / 2)
    assert backlog(fleet, 0, 1.0 + UNDERWAY_SECONDS / 2) == pytest.approx(2.0, rel=1e-3)


def test_what_others_place_between_reports_is_expected_to_go_on() -> None:
    fleet = fleet_of(2)
    busy = fleet.members[0]
    for second in range(1, 11):
        fleet.report(busy, LoadSnapshot(0, int(1e7) + 5 * second, 1e6 + second / 2), float(second))
    rate = fleet.members[0].others_rate.per_second(0.0, OTHERS_PRIOR_SECONDS)
    assert rate == pytest.approx(5, rel=0.2)
    expected = rate * (0.5 + OTHERS_AHEAD_SECONDS) / 10
    assert backlog(fleet, 0, 10.5) == pytest.approx(expected, rel=0.01)
    assert backlog(fleet, 1, 10.5) == 0.0


def test_work_is_weighed_at_the_measured_rate_of_each_replica() -> None:
    fleet = Fleet(seed=1)
    for name, rate in (("fast", 100.0), ("slow", 25.0)):
        measured(fleet, joined(fleet, name), rate)
    for member in fleet.members:
        fleet.place(member, 50, now=0.0)
    assert fleet.backlogs(0.0) == pytest.approx([0.5, 2.0], rel=1e-3)


def test_an_unmeasured_replica_is_taken_for_a_typical_one() -> None:
    fleet = fleet_of(2, rate=40.0)
    newcomer = joined(fleet, "new")
    fleet.place(newcomer, 20, now=0.0)
    assert backlog(fleet, newcomer.row, 0.0) == pytest.approx(0.5, rel=1e-3)


def test_who_is_down_or_avoided_is_infinitely_busy_unless_nobody_else_is_up() -> None:
    fleet = fleet_of(3)
    fleet.set_up(fleet.members[0], is_up=False)
    assert fleet.num_up == 2
    assert list(np.isinf(fleet.backlogs(0.0))) == [True, False, False]
    assert list(np.isinf(fleet.backlogs(0.0, fleet.members[1:2]))) == [True, True, False]
    assert list(np.isinf(fleet.backlogs(0.0, fleet.members[1:]))) == [True, False, False]
    fleet.set_up(fleet.members[2], is_up=False)
    assert list(np.isinf(fleet.backlogs(0.0, fleet.members[1:2]))) == [True, False, True]


def test_a_newcomer_does_not_get_all_the_work_until_it_has_caught_up() -> None:
    fleet = fleet_of(2)
    for member in fleet.members:
        fleet.finish(member, fleet.place(member, 1000, now=0.0))
    assert joined(fleet, "new").given_seconds == pytest.approx(100, rel=0.01)


def test_a_lease_that_outlives_its_replica_counts_nowhere() -> None:
    fleet = fleet_of(2)
    gone = fleet.members[0]
    placement = fleet.place(gone, 10, now=0.0)
    fleet.leave(gone)
    fleet.finish(gone, placement)
    fleet.report(gone, LoadSnapshot(99), 1.0)
    assert [member.name for member in fleet.members] == ["1"]
    assert backlog(fleet, 0, 0.0) == 0.0


def test_the_time_to_finish_counts_only_where_everybody_has_someone_waiting() -> None:
    fleet = fleet_of(2, rate=10.0)
    for member, work in zip(fleet.members, (100, 50), strict=True):
        fleet.place(member, work, now=0.0)
    assert fleet.seconds_to_finish(10, 0.0) == 0.0
    for member, work in zip(fleet.members, (100, 50), strict=True):
        fleet.report(member, LoadSnapshot(work, int(1e7), 1e6, waiting_requests=1), 0.0)
        leave_alone(fleet, member)
    assert fleet.seconds_to_finish(10, 0.0) == pytest.approx(6.0, rel=1e-3)
    fleet.set_up(fleet.members[1], is_up=False)
    assert fleet.seconds_to_finish(10, 0.0) == pytest.approx(11.0, rel=1e-3)
    fleet.set_up(fleet.members[0], is_up=False)
    assert fleet.seconds_to_finish(10, 0.0) == 0.0


def test_the_time_to_finish_is_at_the_best_that_a_replica_has_lately_shown() -> None:
    fleet = Fleet()
    member = joined(fleet, "batched")
    done = 0
    for second, amount in enumerate([50] * 20 + [5000] + [50] * 20):
        done += amount
        fleet.report(member, LoadSnapshot(10_000, done, float(second), 1), float(second))
    assert 2.0 <= fleet.seconds_to_finish(0, 40.0) <= 3.0
    assert backlog(fleet, 0, 40.0) > 10.0


def test_an_unmeasured_replica_makes_no_time_to_finish() -> None:
    fleet = Fleet()
    fleet.report(joined(fleet, "new"), LoadSnapshot(100, waiting_requests=9), 0.0)
    assert fleet.seconds_to_finish(10, 0.0) == 0.0


STEPS = st.lists(
    st.tuples(st.sampled_from(["join", "leave", "place", "finish", "report"]), st.integers(0, 9)),
    max_size=60,
)


@given(steps=STEPS)
def test_the_table_says_what_the_members_say_whatever_happens(
    steps: list[tuple[str, int]],
) -> None:
    fleet, held, names, now = Fleet(seed=1), [], iter(range(100)), 0.0
    for what, number in steps:
        now += 0.01
        member = fleet.members[number % len(fleet.members)] if fleet.members else None
        if what == "join" or member is None:
            joined(fleet, str(next(names)))
        elif what == "leave":
            fleet.leave(member)
        elif what == "place":
            held.append((member, fleet.place(member, number, now)))
        elif what == "finish" and held:
            fleet.finish(*held.pop(number % len(held)))
        elif what == "report":
            fleet.report(member, LoadSnapshot(number, int(now * 100), now), now)
        assert [each.row for each in fleet.members] == list(range(len(fleet.members)))
        assert fleet.num_up == len(fleet.members)
        assert np.all(fleet.backlogs(now) >= 0)
    for member, placement in held:
        fleet.finish(member, placement)
    assert all(member.placed_work == 0 for member in fleet.members)
    assert all(member.unreported_work == 0 for member in fleet.members)
