"""Who takes the next piece of work."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.policies import ReplicaLoad, least_work

LOADS = st.lists(
    st.builds(
        ReplicaLoad,
        name=st.text(min_size=1, max_size=3),
        outstanding_work=st.integers(0, 5),
        last_placed=st.integers(0, 5),
    ),
    min_size=1,
    max_size=6,
)


def load(name: str, work: int, last_placed: int = 0) -> ReplicaLoad:
    return ReplicaLoad(name, work, last_placed)


def test_the_least_work_wins() -> None:
    assert least_work([load("a", 3), load("b", 1), load("c", 2)]) == "b"


def test_on_a_tie_the_one_that_waited_longest_wins() -> None:
    assert least_work([load("a", 1, 7), load("b", 1, 5), load("c", 1, 6)]) == "b"


def test_work_counts_before_waiting() -> None:
    assert least_work([load("a", 2, 0), load("b", 1, 9)]) == "b"


def test_a_new_replica_goes_first_among_the_idle() -> None:
    assert least_work([load("a", 0, 4), load("new", 0, 0)]) == "new"


def test_there_must_be_somebody() -> None:
    with pytest.raises(ValueError, match="empty"):
        least_work([])


@given(loads=LOADS)
def test_nobody_has_less_work_than_the_chosen(loads: list[ReplicaLoad]) -> None:
    chosen = least_work(loads)
    least = min(candidate.outstanding_work for candidate in loads)
    assert chosen in {c.name for c in loads if c.outstanding_work == least}


@given(loads=LOADS, shift=st.integers(1, 100))
def test_only_differences_count(loads: list[ReplicaLoad], shift: int) -> None:
    busier = [load(c.name, c.outstanding_work + shift, c.last_placed) for c in loads]
    assert least_work(busier) == least_work(loads)
