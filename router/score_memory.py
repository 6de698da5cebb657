"""Gate scores of pictures that were encoded before, by image key.

Scores follow from the picture and the model alone, so they never change; the pictures whose scores
were asked for least recently are forgotten first.
"""

from collections import OrderedDict

Scores = tuple[float, ...]


class ScoreMemory:
    """A bounded memory.

    Args:
        max_images: Pictures that it remembers.
    """

    def __init__(self, max_images: int) -> None:
        self._max_images = max_images
        self._scores: OrderedDict[bytes, Scores] = OrderedDict()

    def __len__(self) -> int:
        return len(self._scores)

    def recall(self, image_key: bytes) -> Scores | None:
        """Scores of a picture in tile order; None where they are not remembered."""
        scores = self._scores.get(image_key)
        if scores is not None:
            self._scores.move_to_end(image_key)
        return scores

    def remember(self, image_key: bytes, scores: Scores) -> None:
        """Take note of a picture's scores."""
        self._scores[image_key] = scores
        self._scores.move_to_end(image_key)
        if len(self._scores) > self._max_images:
            self._scores.popitem(last=False)
