"""How far a sender may run ahead."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from language_service.credit import CreditWindow


@settings(deadline=None)
@given(
    chunks=st.lists(st.integers(1, 50), min_size=1, max_size=30), window_bytes=st.integers(100, 300)
)
def test_chunks_of_half_a_window_always_get_their_credit_and_never_more_than_a_window(
    chunks: list[int], window_bytes: int
) -> None:
    num_bytes, received = sum(chunks), 0
    credit = CreditWindow(num_bytes, window_bytes)
    for chunk in chunks:
        assert received + chunk <= credit.limit_bytes <= min(num_bytes, received + window_bytes)
        received += chunk
        before = credit.limit_bytes
        assert credit.raise_for(received) == (credit.limit_bytes > before)
    assert credit.limit_bytes == num_bytes


@pytest.mark.parametrize("num_bytes", [1, 99, 100])
def test_a_payload_within_the_window_gets_all_its_credit_at_once(num_bytes: int) -> None:
    credit = CreditWindow(num_bytes, 100)
    assert credit.limit_bytes == num_bytes
    assert not any(credit.raise_for(received) for received in range(num_bytes + 1))


def test_credit_is_raised_when_half_of_the_window_is_used_up() -> None:
    credit = CreditWindow(1000, 100)
    assert not credit.raise_for(49)
    assert credit.raise_for(50)
    assert credit.limit_bytes == 150
    assert not credit.raise_for(50)
