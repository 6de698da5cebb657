"""What is known of pictures, kept between `Encode` and `Push` and for the next request.

Three kinds under one budget of bytes: the output of the vision transformer, embeddings as they
were sent, and gate scores. What a push is using is never evicted; of the rest outputs and
embeddings go first, oldest use first, and scores last: an embedding and its picture's scores answer
another request for the same tokens when the output is gone. A thing is kept whole or not at all.
"""

import threading
from collections import OrderedDict
from dataclasses import dataclass

import torch

from common.errors import FeaturesNotFoundError, OverloadedError
from vision_service.images import EncodedImage, ProjectedImage, ScoredImage

# What Python takes for a picture's entry and for each of its scores.
SCORES_ENTRY_BYTES = 512
SCORE_BYTES = 32


@dataclass(frozen=True, slots=True)
class ProjectionName:
    """Names one picture's embedding.

    Attributes:
        image_key: The picture.
        compressed: For each tile whether it is compressed.
        dtype: Element type.
    """

    image_key: bytes
    compressed: tuple[bool, ...]
    dtype: torch.dtype


@dataclass(slots=True)
class _Item:
    value: EncodedImage | ProjectedImage
    references: int = 0


@dataclass(slots=True)
class Evictions:
    """How many of each kind were dropped for want of room."""

    outputs: int = 0
    embeddings: int = 0
    scores: int = 0


class FeatureCache:
    """Thread-safe; things stand in order of use, oldest first.

    Attributes:
        max_bytes: Budget.
        evicted: What was dropped so far.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.evicted = Evictions()
        self._lock = threading.Lock()
        self._items: OrderedDict[bytes | ProjectionName, _Item] = OrderedDict()
        self._scores: OrderedDict[bytes, ScoredImage] = OrderedDict()
        self._kept_bytes = 0
        self._referenced_bytes = 0

    @property
    def kept_bytes(self) -> int:
        """Bytes of all that is kept."""
        return self._kept_bytes

    @property
    def referenced_bytes(self) -> int:
        """Bytes of what cannot be evicted now."""
        return self._referenced_bytes

    @property
    def num_images(self) -> int:
        """Pictures whose output is kept."""
        with self._lock:
            return sum(isinstance(name, bytes) for name in self._items)

    def find(self, image_key: bytes) -> EncodedImage | None:
        """Look a picture's output up, which counts as use; None where it is not kept."""
        with self._lock:
            item = self._touched(image_key)
            return item.value if item and isinstance(item.value, EncodedImage) else None

    def find_scored(self, name: ProjectionName) -> ScoredImage | None:
        """Look up the scores of a picture whose embedding is kept, which counts as use of both."""
        with self._lock:
            scored = self._scores.get(name.image_key)
            if scored is None or self._touched(name) is None:
                return None
            self._scores.move_to_end(name.image_key)
            return scored

    def commit(self, encoded: EncodedImage) -> None:
        """Keep a picture's output and scores; an output that is kept already stays as it is.

        Raises:
            OverloadedError: It does not fit beside what is in use; nothing was evicted.
        """
        with self._lock:
            if not self._keep(encoded.image_key, encoded):
                raise OverloadedError("The vision replica has no room for the picture's features.")
            if encoded.scores:
                self._keep_scores(encoded)

    def acquire(self, image_key: bytes) -> EncodedImage:
        """Take a picture's output into use; each call asks for one `release`.

        Raises:
            FeaturesNotFoundError: It is not kept, or no longer.
        """
        with self._lock:
            value = self._acquired(image_key)
            if not isinstance(value, EncodedImage):
                raise FeaturesNotFoundError("The picture's features are not kept; encode it again.")
            return value

    def commit_projection(self, name: ProjectionName, projected: ProjectedImage) -> bool:
        """Keep an embedding; False where it does not fit beside what is in use."""
        with self._lock:
            return self._keep(name, projected)

    def acquire_projection(self, name: ProjectionName) -> ProjectedImage | None:
        """Take an embedding into use; None where it is not kept, else one `release` is due."""
        with self._lock:
            value = self._acquired(name)
            return value if isinstance(value, ProjectedImage) else None

    def release(self, name: bytes | ProjectionName) -> None:
        """Give back one use.

        Raises:
            FeaturesNotFoundError: It is not in use.
        """
        with self._lock:
            item = self._items.get(name)
            if item is None or not item.references:
                raise FeaturesNotFoundError("The picture's features are not in use.")
            item.references -= 1
            if not item.references:
                self._referenced_bytes -= item.value.num_bytes

    def _touched(self, name: bytes | ProjectionName) -> _Item | None:
        item = self._items.get(name)
        if item is not None:
            self._items.move_to_end(name)
        return item

    def _acquired(self, name: bytes | ProjectionName) -> EncodedImage | ProjectedImage | None:
        item = self._touched(name)
        if item is None:
            return None
        if not item.references:
            self._referenced_bytes += item.value.num_bytes
        item.references += 1
        return item.value

    def _keep(self, name: bytes | ProjectionName, value: EncodedImage | ProjectedImage) -> bool:
        if self._touched(name) is not None:
            return True
        # Asked before anything is evicted: a refusal must cost nobody else's picture.
        if self._referenced_bytes + value.num_bytes > self.max_bytes:
            return False
        self._evict(self.max_bytes - value.num_bytes)
        self._items[name] = _Item(value)
        self._kept_bytes += value.num_bytes
        return True

    def _keep_scores(self, encoded: EncodedImage) -> None:
        key = encoded.image_key
        if key not in self._scores:
            self._evict(self.max_bytes - _scores_bytes(encoded), keep=key)
            if self._kept_bytes + _scores_bytes(encoded) > self.max_bytes:
                return
            self._scores[key] = ScoredImage(key, encoded.grid, encoded.scores)
            self._kept_bytes += _scores_bytes(encoded)
        self._scores.move_to_end(key)

    def _evict(self, budget_bytes: int, keep: bytes = b"") -> None:
        """Drop what is not in use, oldest first and scores last, until the rest fits the budget."""
        for name, item in list(self._items.items()):
            if self._kept_bytes <= budget_bytes:
                return
            if not item.references and name != keep:
                del self._items[name]
                self._kept_bytes -= item.value.num_bytes
                if isinstance(item.value, EncodedImage):
                    self.evicted.outputs += 1
                else:
                    self.evicted.embeddings += 1
        while self._scores and self._kept_bytes > budget_bytes:
            _, scored = self._scores.popitem(last=False)
            self._kept_bytes -= _scores_bytes(scored)
            self.evicted.scores += 1


def _scores_bytes(scored: ScoredImage) -> int:
    return SCORES_ENTRY_BYTES + SCORE_BYTES * len(scored.scores)
