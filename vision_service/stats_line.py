"""What a vision replica says of itself every few seconds."""

from common.stats_log import Rise, percent
from vision_service.encoding import Encoder
from vision_service.engine import VisionEngine


class VisionStatsLine:
    """Reads one engine and its encoder."""

    def __init__(self, engine: VisionEngine, encoder: Encoder) -> None:
        stats, encoded = engine.stats, encoder.stats
        self._engine = engine
        self._images = Rise(lambda: encoded.vit_seconds.num_values)
        self._kept = Rise(lambda: encoded.num_kept_images)
        self._tiles = Rise(lambda: stats.num_tiles)
        self._projected = Rise(lambda: stats.num_projected_tiles)
        self._compressed = Rise(lambda: stats.num_compressed_tiles)
        self._sent = Rise(lambda: encoder.streams.committed)

    def next(self, seconds: float) -> str:
        """What has happened."""
        engine = self._engine
        images, kept, tiles = self._images.take(), self._kept.take(), self._tiles.take()
        projected, compressed = self._projected.take(), self._compressed.take()
        sent = self._sent.take()
        running, waiting = engine.running_images, engine.waiting_images
        if not (images or kept or sent or running or waiting):
            return ""
        return (
            f"running {running}, waiting {waiting}; "
            f"encoded {images / seconds:.1f} pictures/s, {tiles / seconds:.1f} tiles/s, "
            f"kept {percent(kept, kept + images)}; "
            f"sent {sent / seconds:.1f} pictures/s, tiles compressed "
            f"{percent(compressed, projected)}"
        )
