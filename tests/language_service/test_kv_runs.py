"""Runs never overlap, and everything comes back."""

from hypothesis import given
from hypothesis import strategies as st

from language_service.kv_runs import BLOCK_TOKENS, KvRun, KvRuns


def test_capacity_is_whole_blocks() -> None:
    assert KvRuns(BLOCK_TOKENS * 3 + 5).num_tokens == BLOCK_TOKENS * 3


def test_no_capacity() -> None:
    assert KvRuns(BLOCK_TOKENS - 1).allocate(1) is None


def test_runs_are_rounded_up_and_follow_each_other() -> None:
    runs = KvRuns(64)
    assert runs.allocate(1) == KvRun(0, 16)
    assert runs.allocate(17) == KvRun(16, 32)
    assert runs.num_free_tokens == 16


def test_the_first_gap_that_fits_is_taken() -> None:
    runs = KvRuns(96)
    small, _, large, _ = (runs.allocate(size) for size in (16, 16, 32, 32))
    runs.free(large)
    runs.free(small)
    assert runs.allocate(32) == large
    assert runs.allocate(16) == small


def test_free_tokens_in_pieces_are_no_run() -> None:
    runs = KvRuns(64)
    first, _, third, _ = (runs.allocate(16) for _ in range(4))
    runs.free(first)
    runs.free(third)
    assert runs.num_free_tokens == 32
    assert runs.allocate(32) is None


def test_neighbours_merge() -> None:
    runs = KvRuns(64)
    held = [runs.allocate(16) for _ in range(4)]
    for position in (0, 2, 1, 3):
        runs.free(held[position])
    assert runs.allocate(64) == KvRun(0, 64)


@given(
    operations=st.lists(
        st.one_of(
            st.tuples(st.just("allocate"), st.integers(1, 200)),
            st.tuples(st.just("free"), st.integers(0, 30)),
        ),
        max_size=60,
    )
)
def test_any_order_of_operations(operations: list[tuple[str, int]]) -> None:
    runs, held = KvRuns(512), []
    for operation, number in operations:
        if operation == "allocate":
            run = runs.allocate(number)
            if run is not None:
                assert number <= run.num_tokens < number + BLOCK_TOKENS
                assert all(run.end <= other.begin or other.end <= run.begin for other in held)
                assert 0 <= run.begin < run.end <= runs.num_tokens
                held.append(run)
        elif held:
            runs.free(held.pop(number % len(held)))
        assert runs.num_free_tokens == 512 - sum(run.num_tokens for run in held)
    for run in held:
        runs.free(run)
    assert runs.allocate(512) == KvRun(0, 512)
