"""The batcher as a specification."""

from math import ceil

from hypothesis import given
from hypothesis import strategies as st

from vision_service.batcher import PATIENCE_TILES, TileBatcher, TileRun

SIZES = st.lists(st.integers(1, 14), min_size=1, max_size=12)


def batcher_with(max_batch_tiles: int, *sizes: int) -> TileBatcher:
    batcher = TileBatcher(max_batch_tiles)
    for job_id, num_tiles in enumerate(sizes):
        batcher.add(job_id, num_tiles, now=0.0)
    return batcher


def all_batches(batcher: TileBatcher) -> list[tuple[TileRun, ...]]:
    return list(iter(batcher.next_batch, ()))


def test_nothing_waiting_gives_an_empty_batch() -> None:
    assert TileBatcher(4).next_batch() == ()


def test_pictures_share_a_batch() -> None:
    batcher = batcher_with(8, 3, 1, 2)
    assert batcher.next_batch() == (TileRun(1, 0, 1), TileRun(2, 0, 2), TileRun(0, 0, 3))
    assert batcher.waiting_tiles == 0


def test_a_large_picture_is_split() -> None:
    assert all_batches(batcher_with(5, 13)) == [
        (TileRun(0, 0, 5),),
        (TileRun(0, 5, 5),),
        (TileRun(0, 10, 3),),
    ]


def test_one_tile_does_not_wait_behind_thirteen() -> None:
    assert batcher_with(4, 13, 1).next_batch() == (TileRun(1, 0, 1), TileRun(0, 0, 3))


def test_of_equal_pictures_the_first_is_done_first() -> None:
    batches = all_batches(batcher_with(4, 5, 5, 5))
    assert [[run.job_id for run in batch] for batch in batches] == [[0], [0, 1], [1, 2], [2]]


def test_a_picture_that_was_begun_goes_on_before_an_equal_one() -> None:
    batcher = batcher_with(4, 6)
    batcher.next_batch()
    batcher.add(1, 6, now=0.0)
    assert batcher.next_batch() == (TileRun(0, 4, 2), TileRun(1, 0, 2))


def test_small_pictures_pass_a_large_one_only_so_long() -> None:
    batcher = batcher_with(1, 3)
    passed = 0
    for job_id in range(1, 100):
        batcher.add(job_id, 1, now=0.0)
        (run,) = batcher.next_batch()
        if run.job_id == 0:
            break
        passed += 1
    assert passed == 2 * PATIENCE_TILES


def test_cancel_drops_what_no_batch_has_taken() -> None:
    batcher = batcher_with(4, 6, 6)
    batcher.next_batch()
    batcher.cancel(0)
    batcher.cancel(7)
    assert batcher.waiting_tiles == 6
    assert batcher.next_batch() == (TileRun(1, 0, 4),)


WAIT_SECONDS = 5.0


def waiting(*added_at: float) -> TileBatcher:
    """Pictures of one tile, of which four fill a batch."""
    batcher = TileBatcher(4, WAIT_SECONDS)
    for job_id, now in enumerate(added_at):
        batcher.add(job_id, 1, now)
    return batcher


def test_a_part_full_batch_waits_only_while_tiles_are_coming() -> None:
    assert waiting(10.0).seconds_to_wait(now=12.0, coming_tiles=1) == 3.0
    assert waiting(10.0).seconds_to_wait(now=12.0, coming_tiles=0) == 0.0


def test_the_oldest_picture_bounds_the_wait() -> None:
    batcher = waiting(10.0, 14.0)
    assert batcher.seconds_to_wait(now=14.5, coming_tiles=9) == 0.5
    assert batcher.seconds_to_wait(now=15.0, coming_tiles=9) == 0.0
    assert batcher.seconds_to_wait(now=99.0, coming_tiles=9) == 0.0


def test_a_full_batch_and_an_empty_one_do_not_wait() -> None:
    assert waiting(1.0, 1.0, 1.0, 1.0).seconds_to_wait(now=1.0, coming_tiles=1) == 0.0
    assert waiting().seconds_to_wait(now=1.0, coming_tiles=1) == 0.0


def test_a_picture_that_was_begun_bounds_the_wait_of_its_rest() -> None:
    batcher = TileBatcher(4, WAIT_SECONDS)
    batcher.add(0, 5, now=0.0)
    batcher.next_batch()
    batcher.add(1, 1, now=4.0)
    assert batcher.seconds_to_wait(now=4.0, coming_tiles=1) == 1.0
    batcher.next_batch()
    batcher.add(2, 1, now=6.0)
    assert batcher.seconds_to_wait(now=6.0, coming_tiles=1) == 5.0


def test_a_cancelled_picture_bounds_no_wait() -> None:
    batcher = waiting(10.0, 12.0)
    batcher.cancel(0)
    assert batcher.seconds_to_wait(now=12.0, coming_tiles=1) == 5.0


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


@given(sizes=SIZES, max_batch_tiles=st.integers(1, PATIENCE_TILES - 1))
def test_a_late_lone_tile_waits_only_for_last_tiles(sizes: list[int], max_batch_tiles: int) -> None:
    batcher = batcher_with(max_batch_tiles, *sizes)
    batcher.next_batch()
    batcher.add(99, 1, now=0.0)
    waits = next(i for i, b in enumerate(all_batches(batcher), 1) if 99 in {r.job_id for r in b})
    assert waits <= ceil((len(sizes) + 1) / max_batch_tiles)
