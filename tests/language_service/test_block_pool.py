"""Blocks are counted, kept, and taken from whoever was used longest ago."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from language_service.block_pool import BlockPool


def pool_of(num_blocks: int) -> tuple[BlockPool, list[int]]:
    evicted: list[int] = []
    return BlockPool(num_blocks, evicted.append), evicted


def keep(pool: BlockPool, *blocks: int) -> None:
    """Use blocks, one after the other, and leave their contents behind."""
    for block in blocks:
        assert pool.allocate_at(block, 1) == [block]
        pool.keep(block)
        pool.release([block])


def test_a_run_fills_an_aligned_window() -> None:
    pool, _ = pool_of(32)
    assert pool.allocate_run(5) == list(range(8))
    assert pool.allocate_run(8) == list(range(8, 16))
    assert pool.num_available == 16


def test_a_run_that_finds_no_window_takes_what_it_needs_anywhere() -> None:
    pool, _ = pool_of(10)
    pool.allocate_at(2, 1)
    assert pool.allocate_run(6) == [3, 4, 5, 6, 7, 8]
    assert pool.allocate_run(3) is None


def test_scattered_blocks_are_taken_where_there_is_no_run() -> None:
    pool, _ = pool_of(6)
    for block in (1, 3):
        pool.allocate_at(block, 1)
    assert pool.allocate_run(3) is None
    assert pool.allocate_scattered(4) == [0, 2, 4, 5]
    assert pool.allocate_scattered(1) is None


def test_exact_blocks_are_given_or_nothing() -> None:
    pool, _ = pool_of(8)
    pool.allocate_at(5, 1)
    assert pool.allocate_at(3, 3) is None
    assert pool.allocate_at(6, 3) is None
    assert pool.num_available == 7


def test_free_blocks_go_before_kept_ones() -> None:
    pool, evicted = pool_of(8)
    keep(pool, 0, 1, 2)
    assert pool.allocate_run(4) == [4, 5, 6, 7]
    assert evicted == []
    assert pool.num_available == 4


def test_the_window_used_longest_ago_is_taken_and_its_contents_given_up() -> None:
    pool, evicted = pool_of(8)
    keep(pool, 4, 5, 0, 1, 6, 7, 2, 3)
    assert pool.allocate_run(4) == [4, 5, 6, 7]
    assert sorted(evicted) == [4, 5, 6, 7]
    assert pool.num_kept == 4


def test_scattered_blocks_used_longest_ago_are_taken() -> None:
    pool, evicted = pool_of(4)
    keep(pool, 3, 1, 0, 2)
    assert pool.allocate_scattered(2) == [1, 3]
    assert sorted(evicted) == [1, 3]


def test_use_makes_a_kept_block_young_again() -> None:
    pool, _ = pool_of(2)
    keep(pool, 0, 1)
    pool.refer([0])
    pool.release([0])
    assert pool.allocate_scattered(1) == [1]


def test_a_block_is_free_when_the_last_lets_it_go() -> None:
    pool, _ = pool_of(1)
    pool.allocate_at(0, 1)
    pool.refer([0])
    pool.release([0])
    assert pool.allocate_scattered(1) is None
    pool.release([0])
    assert pool.allocate_scattered(1) == [0]


def test_giving_back_too_often_is_loud() -> None:
    pool, _ = pool_of(1)
    with pytest.raises(AssertionError, match="too often"):
        pool.release([0])


def test_integrity_finds_a_lost_reference() -> None:
    pool, _ = pool_of(2)
    pool.allocate_at(0, 1)
    pool.check_integrity({0: 1})
    with pytest.raises(AssertionError):
        pool.check_integrity({})


STEPS = st.lists(
    st.tuples(st.sampled_from(["run", "scattered", "refer", "release", "keep"]), st.integers(0, 9)),
    max_size=60,
)


@given(steps=STEPS, num_blocks=st.integers(1, 12))
def test_references_always_add_up(steps: list[tuple[str, int]], num_blocks: int) -> None:
    pool, evicted = pool_of(num_blocks)
    held: list[int] = []
    kept: set[int] = set()
    for what, number in steps:
        if what in {"run", "scattered"}:
            allocate = pool.allocate_run if what == "run" else pool.allocate_scattered
            taken = allocate(number + 1)
            assert taken is None or (len(taken) > number and not set(taken) & set(held))
            held += taken or []
        elif held:
            block = held[number % len(held)]
            if what == "refer":
                pool.refer([block])
                held.append(block)
            elif what == "release":
                pool.release([block])
                held.remove(block)
            else:
                pool.keep(block)
                kept.add(block)
        kept -= set(evicted)
        evicted.clear()
        assert pool.num_kept == len(kept)
        pool.check_integrity({block: held.count(block) for block in held})
