"""Who takes the next piece of work."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.config import PlacementConfig
from router.affinity_key import affinity_key
from router.fleet import Fleet
from router.fleet_member import LoadSnapshot
from router.policies import (
    Affinity,
    Ask,
    LeastWork,
    Policy,
    PowerOfTwo,
    RoundRobin,
    make_policy,
)
from tests.router.test_fleet import fleet_of, joined

POLICIES: list[Policy] = [LeastWork(), PowerOfTwo(1), RoundRobin(), Affinity(1.25)]
WORK = st.lists(st.integers(0, 5), min_size=1, max_size=6)


def busy_with(work: list[int]) -> Fleet:
    """One replica for each number, with so much work."""
    fleet = fleet_of(len(work))
    for member, amount in zip(fleet.members, work, strict=True):
        fleet.place(member, amount, now=0.0)
    return fleet


def chosen(policy: Policy, fleet: Fleet, ask: Ask | None = None) -> str:
    return policy.choose(fleet, ask or Ask(1), now=0.0).name


def place(policy: Policy, fleet: Fleet, num: int, keys: range = range(1)) -> Counter[str]:
    """Place pieces of work that never end; count who got them."""
    counts: Counter[str] = Counter()
    for number in range(num):
        key = affinity_key(str(keys[number % len(keys)]).encode())
        member = policy.choose(fleet, Ask(1, key), now=0.0)
        fleet.place(member, 1, now=0.0)
        counts[member.name] += 1
    return counts


@given(work=WORK)
def test_nobody_has_less_work_than_the_chosen(work: list[int]) -> None:
    name = chosen(LeastWork(), busy_with(work))
    assert work[int(name)] == min(work)


def test_of_the_idle_the_one_that_was_given_least_goes_first() -> None:
    fleet = fleet_of(3)
    for member, amount in zip(fleet.members, (30, 10, 20), strict=True):
        fleet.finish(member, fleet.place(member, amount, now=0.0))
    assert chosen(LeastWork(), fleet) == "1"


def test_two_routers_do_not_begin_with_the_same_replica() -> None:
    firsts = set()
    for seed in range(8):
        fleet = Fleet(seed)
        for index in range(100):
            joined(fleet, str(index))
        firsts.add(chosen(LeastWork(), fleet))
    assert len(firsts) > 4


def test_two_routers_with_the_same_stale_report_settle_on_replicas_of_their_own() -> None:
    fleet = fleet_of(2)
    others = fleet.members[0]
    for tenth in range(1, 31):  # it is idle at every report, and busy with others' work between
        now = tenth / 10
        fleet.report(others, LoadSnapshot(0, int(1e7) + tenth, 1e6 + now), now)
        fleet.report(fleet.members[1], LoadSnapshot(0, int(1e7), 1e6), now)
    names = {LeastWork().choose(fleet, Ask(1), now=3.0).name for _ in range(10)}
    assert names == {"1"}


def test_of_two_drawn_the_better_is_taken() -> None:
    fleet = busy_with([5, 5, 0])
    counts = Counter(chosen(PowerOfTwo(seed), fleet) for seed in range(900))
    assert counts["2"] == pytest.approx(900 * 5 / 9, rel=0.15)


def test_draws_follow_from_the_seed() -> None:
    ones, twos = PowerOfTwo(3), PowerOfTwo(3)
    fleet = fleet_of(10)
    assert [chosen(ones, fleet) for _ in range(20)] == [chosen(twos, fleet) for _ in range(20)]


def test_round_robin_takes_each_in_turn() -> None:
    policy, fleet = RoundRobin(), busy_with([9, 0, 5])
    assert [chosen(policy, fleet) for _ in range(4)] == ["0", "1", "2", "0"]


def test_a_replica_that_comes_moves_only_keys_to_itself() -> None:
    policy, fleet = Affinity(1.25), fleet_of(8)
    asks = [Ask(1, affinity_key(bytes([number]))) for number in range(200)]
    before = [chosen(policy, fleet, ask) for ask in asks]
    assert max(Counter(before).values()) < 2 * 200 / 8
    joined(fleet, "new")
    after = [chosen(policy, fleet, ask) for ask in asks]
    assert {new for old, new in zip(before, after, strict=True) if new != old} == {"new"}


def test_mode_34_a_hot_picture_overruns_nobody_and_a_newcomer_gets_work() -> None:
    fleet = fleet_of(8)
    counts = place(Affinity(1.25), fleet, 800)
    assert max(counts.values()) <= 1.25 * 100 + 2
    newcomer = joined(fleet, "new")
    # Of one picture alone the last in its order may get nothing; of many some have it first.
    assert place(Affinity(1.25), fleet, 200, range(100))[newcomer.name] > 0


@given(work=WORK, key=st.integers(0, 2**64 - 1))
def test_affinity_never_takes_who_is_above_the_bound(work: list[int], key: int) -> None:
    fleet = busy_with(work)
    name = chosen(Affinity(1.25), fleet, Ask(1, key))
    assert work[int(name)] <= 1.25 * np.mean(work) + 1e-6


@pytest.mark.parametrize("policy", POLICIES)
@given(work=WORK, down=st.sets(st.integers(0, 5)), avoided=st.integers(0, 5))
def test_whoever_is_chosen_takes_work_and_is_not_avoided_needlessly(
    policy: Policy, work: list[int], down: set[int], avoided: int
) -> None:
    fleet = busy_with(work)
    for index in down:
        if index < len(work) and fleet.num_up > 1:
            fleet.set_up(fleet.members[index], is_up=False)
    avoid = tuple(fleet.members[avoided : avoided + 2])
    for key in range(4):
        member = policy.choose(fleet, Ask(1, key, avoid), now=0.0)
        assert member.is_up
        assert member not in avoid or all(not m.is_up for m in fleet.members if m not in avoid)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("least_work", LeastWork),
        ("power_of_two", PowerOfTwo),
        ("round_robin", RoundRobin),
        ("affinity", Affinity),
    ],
)
def test_every_policy_has_its_name(name: str, kind: type[Policy]) -> None:
    assert isinstance(make_policy(PlacementConfig(), name, seed=1), kind)
