"""Fair shares: alone all, together equal, and always room for who comes next."""

import pytest

from router.resources import Amounts, Resource
from router.tenants import ACTIVE_SECONDS, MAX_TENANTS, OTHERS, Tenants

BOUND = 100


class Crowd:
    """Tenants that ask for one request at a time, against one bound."""

    def __init__(self) -> None:
        self.tenants = Tenants()
        self.now = 0.0
        self.num_held = 0

    def ask(self, name: str) -> bool:
        """Ask; whether it was granted."""
        self.tenants.forget_idle(self.now)
        name = self.tenants.ask(name, self.now)
        held = self.tenants.held(name)
        limit = self.tenants.limit(name, Resource.REQUESTS, BOUND, self.num_held)
        if self.num_held + 1 > BOUND or held.requests + 1 > limit:
            return False
        held.add(Amounts(requests=1))
        self.num_held += 1
        return True

    def ask_until_refused(self, name: str) -> int:
        """What a tenant that takes all that it can get holds in the end."""
        while self.ask(name):
            pass
        return self.tenants.held(name).requests

    def finish(self, name: str, num: int) -> None:
        for _ in range(num):
            self.tenants.held(name).add(Amounts(requests=1), -1)
            self.num_held -= 1


def test_who_is_alone_may_take_all() -> None:
    assert Crowd().ask_until_refused("a") == BOUND


def test_who_comes_second_gets_its_share_as_the_first_one_finishes() -> None:
    crowd = Crowd()
    crowd.ask_until_refused("greedy")
    assert not crowd.ask("late")
    for _ in range(BOUND):
        crowd.finish("greedy", 1)
        is_above = crowd.tenants.held("greedy").requests >= BOUND / 2
        assert (crowd.ask("greedy"), crowd.ask("late")) == (not is_above, is_above)
    shares = [crowd.tenants.held(name).requests for name in ("greedy", "late")]
    assert shares == pytest.approx([BOUND / 2, BOUND / 2], abs=1)


def test_what_others_leave_may_be_used_but_for_a_fifth() -> None:
    crowd = Crowd()
    for _ in range(10):
        crowd.ask("small")
    assert crowd.ask_until_refused("greedy") == 0.8 * (BOUND - 10)
    assert crowd.ask("third")


def test_many_who_take_all_they_can_get_the_same() -> None:
    crowd = Crowd()
    names = [str(index) for index in range(5)]
    for name in names:
        crowd.ask(name)
    for _ in range(3 * BOUND):
        for name in names:
            crowd.ask(name)
    assert [crowd.tenants.held(name).requests for name in names] == [20] * 5


def test_who_has_not_asked_lately_has_no_share() -> None:
    crowd = Crowd()
    crowd.ask("gone")
    crowd.finish("gone", 1)
    crowd.now = ACTIVE_SECONDS + 1
    assert crowd.ask_until_refused("a") == BOUND


def test_who_holds_something_keeps_its_share_however_long_it_takes() -> None:
    crowd = Crowd()
    crowd.ask("slow")
    crowd.now = 10 * ACTIVE_SECONDS
    assert crowd.ask_until_refused("a") < BOUND


def test_made_up_names_share_one_place() -> None:
    crowd = Crowd()
    names = {crowd.tenants.ask(str(index), 0.0) for index in range(2 * MAX_TENANTS)}
    assert len(names) == MAX_TENANTS + 1
    assert OTHERS in names
