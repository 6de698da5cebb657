"""Which tiles go into the next pass of the vision transformer.

Tiles of all waiting pictures share batches. The picture with the fewest tiles left goes first, and
among equals the one that came first: so a lone tile does not wait behind the thirteen of a large
picture, and of several large ones the first is soon done and on its way to the language model,
where taking turns would finish all of them last. A large picture may be split, and gains on those
that come later while it waits, so that it is never passed for long. A batch that is not full waits,
for a bounded time, while more tiles are about to come; else the device would idle for nothing.
Pure: it knows numbers of tiles and times, and nothing of pixels.
"""

from dataclasses import dataclass

# Tiles of others that make up for one tile more of one's own.
PATIENCE_TILES = 8


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


@dataclass(slots=True)
class _Waiting:
    """A picture that has tiles which no batch has taken.

    Attributes:
        added_at: When it came, in seconds.
        taken_before: Tiles that batches had taken until then.
        next_tile: The first that waits.
        num_left: How many wait.
    """

    added_at: float
    taken_before: int
    next_tile: int
    num_left: int

    @property
    def rank(self) -> int:
        """Lower goes first."""
        return self.taken_before + PATIENCE_TILES * self.num_left


class TileBatcher:
    """Fewest tiles left first, within bounds."""

    def __init__(self, max_batch_tiles: int, max_wait_seconds: float = 0.0) -> None:
        """Start empty.

        Args:
            max_batch_tiles: Most tiles of a batch.
            max_wait_seconds: Longest that a picture waits for others to fill its batch.
        """
        self._max_batch_tiles = max_batch_tiles
        self._max_wait_seconds = max_wait_seconds
        self._taken_tiles = 0
        self._waiting: dict[int, _Waiting] = {}

    @property
    def waiting_tiles(self) -> int:
        """Tiles that no batch has taken yet."""
        return sum(picture.num_left for picture in self._waiting.values())

    def add(self, job_id: int, num_tiles: int, now: float) -> None:
        """Queue a picture of at least one tile under a new number."""
        self._waiting[job_id] = _Waiting(now, self._taken_tiles, 0, num_tiles)

    def cancel(self, job_id: int) -> None:
        """Drop the tiles of a picture that no batch has taken; an unknown number is ignored."""
        self._waiting.pop(job_id, None)

    def seconds_to_wait(self, now: float, coming_tiles: int) -> float:
        """How long the next batch should wait to be filled; 0 to run it now.

        Args:
            now: The time.
            coming_tiles: Tiles that are about to be added.
        """
        if not coming_tiles or not self._waiting or self.waiting_tiles >= self._max_batch_tiles:
            return 0.0
        oldest = min(picture.added_at for picture in self._waiting.values())
        return max(0.0, oldest + self._max_wait_seconds - now)

    def next_batch(self) -> tuple[TileRun, ...]:
        """Take the next batch: one run per picture, empty when nothing waits."""
        runs: list[TileRun] = []
        room = self._max_batch_tiles
        # A stable sort of a dictionary: equals stay in the order in which they came.
        for job_id, picture in sorted(self._waiting.items(), key=lambda item: item[1].rank):
            if not room:
                break
            run = TileRun(job_id, picture.next_tile, min(room, picture.num_left))
            room -= run.num_tiles
            self._take(run)
            runs.append(run)
        return tuple(runs)

    def _take(self, run: TileRun) -> None:
        picture = self._waiting[run.job_id]
        picture.next_tile += run.num_tiles
        picture.num_left -= run.num_tiles
        self._taken_tiles += run.num_tiles
        if not picture.num_left:
            del self._waiting[run.job_id]
