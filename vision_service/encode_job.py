"""One picture on its way through the vision transformer: its tiles may run in several batches."""

from concurrent.futures import Future

import torch

from vision_service.batcher import TileRun
from vision_service.images import EncodedImage, EncodeTimings, TiledImage


class EncodeJob:
    """Collects features until the last tile is done; equal tiles run once.

    Attributes:
        job_id: Number in the batcher.
        image_key: Name of the picture.
        num_tiles: Distinct tiles, which is what runs; below, tiles are counted among these.
        waiters: Every request for this picture; those cancelled do not count.
    """

    def __init__(self, job_id: int, image_key: bytes, tiled: TiledImage, now: float) -> None:
        self.job_id = job_id
        self.image_key = image_key
        self.waiters: list[Future[EncodedImage]] = []
        self._tiled = tiled
        self._distinct = sorted(set(tiled.twins))
        self.num_tiles = len(self._distinct)
        self._features = torch.empty(0)
        self._num_done = 0
        self._submitted_at = self._started_at = self._encoded_at = now
        self.is_started = False

    @property
    def remaining_tiles(self) -> int:
        """Tiles without features yet."""
        return self.num_tiles - self._num_done

    @property
    def is_cancelled(self) -> bool:
        """Whether nobody waits for the picture any more."""
        return all(waiter.cancelled() for waiter in self.waiters)

    def start(self, now: float) -> None:
        """Note when the first batch took a tile; later calls change nothing."""
        if not self.is_started:
            self.is_started, self._started_at = True, now

    def pixels(self, run: TileRun) -> torch.Tensor:
        """Pixels of a run of tiles, [n, 3, S, S]; a view where no twin lies between them."""
        tiles = self._distinct[run.first_tile : run.first_tile + run.num_tiles]
        if tiles[-1] - tiles[0] == run.num_tiles - 1:
            return self._tiled.pixels[tiles[0] : tiles[-1] + 1]
        return self._tiled.pixels[tiles]

    def keep(self, run: TileRun, features: torch.Tensor, now: float) -> None:
        """Copy the features [n, P, d] of a run out of its batch."""
        # Not a view of the batch, which would keep the tiles of strangers in memory.
        if not self._num_done:
            self._features = features.new_empty((self.num_tiles, *features.shape[1:]))
        self._features[run.first_tile : run.first_tile + run.num_tiles] = features
        self._num_done += run.num_tiles
        self._encoded_at = now

    @property
    def features(self) -> torch.Tensor:
        """Features of the distinct tiles, [n, P, d]; whole once none remains."""
        return self._features

    def result(self, scores: list[float], now: float) -> EncodedImage:
        """Spread features and scores over all tiles of the picture.

        Args:
            scores: Of the distinct tiles; empty without a gate.
            now: When the gate was done.
        """
        row_of = {tile: row for row, tile in enumerate(self._distinct)}
        rows = [row_of[twin] for twin in self._tiled.twins]
        return EncodedImage(
            image_key=self.image_key,
            grid=self._tiled.grid,
            features=self._features if len(rows) == self.num_tiles else self._features[rows],
            scores=tuple(scores[row] for row in rows) if scores else (),
            timings=EncodeTimings(
                queue_seconds=self._started_at - self._submitted_at,
                vit_seconds=self._encoded_at - self._started_at,
                gate_seconds=now - self._encoded_at,
            ),
        )
