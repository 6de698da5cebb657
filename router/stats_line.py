"""What a router says of itself every few seconds."""

from common.stats_log import Rise, percent
from router.admission import Admission
from router.door_stats import DoorStats


class RouterStatsLine:
    """Reads what the doors count and what is admitted."""

    def __init__(self, stats: DoorStats, admission: Admission) -> None:
        self._admission = admission
        self._answers = Rise(lambda: stats.request_seconds.num_values)
        self._images = Rise(lambda: stats.images.total)
        self._tiles = Rise(lambda: stats.tiles.total)
        self._compressed = Rise(lambda: stats.num_compressed_tiles)
        self._prompt = Rise(lambda: stats.prompt_tokens.total)
        self._delivered = Rise(lambda: stats.num_delivered_tokens)

    def next(self, seconds: float) -> str:
        """What has happened."""
        answers, images, tiles = self._answers.take(), self._images.take(), self._tiles.take()
        compressed, prompt = self._compressed.take(), self._prompt.take()
        delivered, running = self._delivered.take(), self._admission.requests
        if not (answers or delivered or running):
            return ""
        return (
            f"running {running}, load {100 * self._admission.load:.1f} %; "
            f"answered {answers / seconds:.1f} requests/s, {images / seconds:.1f} pictures/s, "
            f"tiles compressed {percent(compressed, tiles)}; "
            f"prompt {prompt / seconds:.1f} tokens/s, generated {delivered / seconds:.1f} tokens/s"
        )
