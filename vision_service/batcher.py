"""Which tiles go into the next pass of the vision transformer.

Tiles of all waiting pictures share batches, one tile each in turn, so that a lone tile never waits
behind the thirteen of a large picture, and a large picture may be split. A batch that is not full
waits, for a bounded time, while more tiles are about to come; else the device would idle for
nothing. Pure: it knows numbers of tiles and times, and nothing of pixels.
"""

from collections import Counter, deque
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TileRun:
    """Consecutive tiles of one picture within a batch.

    Attributes:
        job_id: Picture.
        first_tile: Its first tile in the batch.
        num_tiles: How many.
    """

    job_id: int
    first_tile: int
    num_tiles: int


class TileBatcher:
    """Round robin over pictures; the turn goes on where the last batch ended."""

    def __init__(self, max_batch_tiles: int, max_wait_seconds: float = 0.0) -> None:
        """Start empty.

        Args:
            max_batch_tiles: Most tiles of a batch.
            max_wait_seconds: Longest that a picture waits for others to fill its batch.
        """
        self._max_batch_tiles = max_batch_tiles
        self._max_wait_seconds = max_wait_seconds
        self._added_at: dict[int, float] = {}
        self._turns: deque[int] = deque()
        self._next_tile: dict[int, int] = {}
        self._remaining: Counter[int] = Counter()

    @property
    def waiting_tiles(self) -> int:
        """Tiles that no batch has taken yet."""
        return self._remaining.total()

    def add(self, job_id: int, num_tiles: int, now: float) -> None:
        """Queue a picture of at least one tile under a new number."""
        self._turns.append(job_id)
        self._added_at[job_id] = now
        self._next_tile[job_id] = 0
        self._remaining[job_id] = num_tiles

    def cancel(self, job_id: int) -> None:
        """Drop the tiles of a picture that no batch has taken; an unknown number is ignored."""
        if job_id in self._remaining:
            self._turns.remove(job_id)
            self._forget(job_id)

    def seconds_to_wait(self, now: float, coming_tiles: int) -> float:
        """How long the next batch should wait to be filled; 0 to run it now.

        Args:
            now: The time.
            coming_tiles: Tiles that are about to be added.
        """
        if not coming_tiles or self.waiting_tiles >= self._max_batch_tiles or not self._added_at:
            return 0.0
        return max(0.0, min(self._added_at.values()) + self._max_wait_seconds - now)

    def next_batch(self) -> tuple[TileRun, ...]:
        """Take the next batch: one run per picture, empty when nothing waits."""
        taken: Counter[int] = Counter()
        for _ in range(min(self._max_batch_tiles, self.waiting_tiles)):
            job_id = self._turns.popleft()
            taken[job_id] += 1
            self._remaining[job_id] -= 1
            if self._remaining[job_id]:
                self._turns.append(job_id)
        return tuple(self._run(job_id, num_tiles) for job_id, num_tiles in taken.items())

    def _run(self, job_id: int, num_tiles: int) -> TileRun:
        run = TileRun(job_id, self._next_tile[job_id], num_tiles)
        self._next_tile[job_id] += num_tiles
        if not self._remaining[job_id]:
            self._forget(job_id)
        return run

    def _forget(self, job_id: int) -> None:
        del self._next_tile[job_id], self._remaining[job_id], self._added_at[job_id]
