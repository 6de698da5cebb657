"""The moment by which a request must end."""

import time

import pytest

from common.errors import DeadlineExpiredError
from router.deadline import Deadline


def test_it_counts_from_now() -> None:
    assert Deadline.after(100.0).remaining() == pytest.approx(100.0, abs=5)


def test_what_remains_shrinks_and_is_the_same_for_equal_deadlines() -> None:
    deadline = Deadline.after(100.0)
    assert deadline.remaining() >= Deadline(deadline.at).remaining()


@pytest.mark.parametrize("seconds", [0.0, -1.0])
def test_past_it_there_is_nothing_left(seconds: float) -> None:
    with pytest.raises(DeadlineExpiredError, match=r"The deadline passed\."):
        Deadline(time.monotonic() + seconds).remaining()
