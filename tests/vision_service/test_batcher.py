"""The batcher as a specification."""

from math import ceil

from hypothesis import given
from hypothesis import strategies as st

from vision_service.batcher import TileBatcher, TileRun

SIZES = st.lists(st.integers(1, 14), min_size=1, max_size=12)


def batcher_with(max_batch_tiles: int, *sizes: int) -> TileBatcher:
    batcher = TileBatcher(max_batch_tiles)
    for job_id, num_tiles in enumerate(sizes):
        batcher.add(job_id, num_tiles)
    return batcher


def all_batches(batcher: TileBatcher) -> list[tuple[TileRun, ...]]:
    return list(iter(batcher.next_batch, ()))


def test_nothing_waiting_gives_an_empty_batch() -> None:
    assert TileBatcher(4).next_batch() == ()


def test_pictures_share_a_batch() -> None:
    batcher = batcher_with(8, 3, 1, 2)
    assert batcher.next_batch() == (TileRun(0, 0, 3), TileRun(1, 0, 1), TileRun(2, 0, 2))
    assert batcher.waiting_tiles == 0


def test_a_large_picture_is_split() -> None:
    assert all_batches(batcher_with(5, 13)) == [
        (TileRun(0, 0, 5),),
        (TileRun(0, 5, 5),),
        (TileRun(0, 10, 3),),
    ]


def test_one_tile_does_not_wait_behind_thirteen() -> None:
    assert batcher_with(4, 13, 1).next_batch() == (TileRun(0, 0, 3), TileRun(1, 0, 1))


def test_the_turn_goes_on_where_the_last_batch_ended() -> None:
    batcher = batcher_with(2, 5, 5, 5)
    assert [[run.job_id for run in batcher.next_batch()] for _ in range(3)] == [
        [0, 1],
        [2, 0],
        [1, 2],
    ]


def test_cancel_drops_what_no_batch_has_taken() -> None:
    batcher = batcher_with(4, 6, 6)
    batcher.next_batch()
    batcher.cancel(0)
    batcher.cancel(7)
    assert batcher.waiting_tiles == 4
    assert batcher.next_batch() == (TileRun(1, 2, 4),)


@given(sizes=SIZES, max_batch_tiles=st.integers(1, 20))
def test_every_tile_runs_exactly_once_and_in_order(sizes: list[int], max_batch_tiles: int) -> None:
    seen: dict[int, list[int]] = {job_id: [] for job_id in range(len(sizes))}
    for batch in all_batches(batcher_with(max_batch_tiles, *sizes)):
        assert len({run.job_id for run in batch}) == len(batch)
        for run in batch:
            seen[run.job_id] += range(run.first_tile, run.first_tile + run.num_tiles)
    assert seen == {job_id: list(range(size)) for job_id, size in enumerate(sizes)}


@given(sizes=SIZES, max_batch_tiles=st.integers(1, 20))
def test_all_batches_but_the_last_are_full(sizes: list[int], max_batch_tiles: int) -> None:
    batches = all_batches(batcher_with(max_batch_tiles, *sizes))
    fills = [sum(run.num_tiles for run in batch) for batch in batches]
    assert fills[:-1] == [max_batch_tiles] * (len(fills) - 1)
    assert sum(fills) == sum(sizes)


@given(sizes=SIZES, max_batch_tiles=st.integers(1, 20))
def test_a_picture_of_n_tiles_is_done_within_n_rounds(
    sizes: list[int], max_batch_tiles: int
) -> None:
    done_in = dict[int, int]()
    for index, batch in enumerate(all_batches(batcher_with(max_batch_tiles, *sizes)), start=1):
        done_in |= {run.job_id: index for run in batch}
    for job_id, size in enumerate(sizes):
        assert done_in[job_id] <= ceil(size * len(sizes) / max_batch_tiles)


@given(sizes=SIZES, max_batch_tiles=st.integers(1, 20), batches=st.integers(0, 5))
def test_a_late_lone_tile_waits_for_one_round_at_most(
    sizes: list[int], max_batch_tiles: int, batches: int
) -> None:
    batcher = batcher_with(max_batch_tiles, *sizes)
    for _ in range(batches):
        batcher.next_batch()
    batcher.add(99, 1)
    waits = next(i for i, b in enumerate(all_batches(batcher), 1) if 99 in {r.job_id for r in b})
    assert waits <= ceil((len(sizes) + 1) / max_batch_tiles)
