"""Encoded pictures kept between `Encode` and `Push`, and for the next request that shows them.

Bounded in bytes. What a push is reading is never evicted; the rest goes oldest use first. A
picture is kept whole or not at all.
"""

import threading
from collections import OrderedDict
from dataclasses import dataclass

from common.errors import FeaturesNotFoundError, OverloadedError
from vision_service.images import EncodedImage


@dataclass(slots=True)
class _Entry:
    encoded: EncodedImage
    references: int = 0


class FeatureCache:
    """Thread-safe; entries stand in order of use, oldest first."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._entries: OrderedDict[bytes, _Entry] = OrderedDict()
        self._kept_bytes = 0
        self._referenced_bytes = 0

    @property
    def kept_bytes(self) -> int:
        """Bytes of all features kept."""
        return self._kept_bytes

    @property
    def referenced_bytes(self) -> int:
        """Bytes of features that cannot be evicted now."""
        return self._referenced_bytes

    @property
    def num_images(self) -> int:
        """Pictures kept."""
        return len(self._entries)

    def find(self, image_key: bytes) -> EncodedImage | None:
        """Look a picture up, which counts as use; None where it is not kept."""
        with self._lock:
            entry = self._entries.get(image_key)
            if entry is None:
                return None
            self._entries.move_to_end(image_key)
            return entry.encoded

    def commit(self, encoded: EncodedImage) -> None:
        """Keep a picture; one that is kept already stays as it is.

        Raises:
            OverloadedError: It does not fit beside the pictures in use; nothing was evicted.
        """
        with self._lock:
            if encoded.image_key in self._entries:
                self._entries.move_to_end(encoded.image_key)
                return
            # Asked before anything is evicted: a refusal must cost nobody else's picture.
            if self._referenced_bytes + encoded.num_bytes > self._max_bytes:
                raise OverloadedError("The vision replica has no room for the picture's features.")
            self._evict(self._max_bytes - encoded.num_bytes)
            self._entries[encoded.image_key] = _Entry(encoded)
            self._kept_bytes += encoded.num_bytes

    def acquire(self, image_key: bytes) -> EncodedImage:
        """Take a picture into use; each call asks for one `release`.

        Raises:
            FeaturesNotFoundError: It is not kept, or no longer.
        """
        with self._lock:
            entry = self._entry(image_key)
            if not entry.references:
                self._referenced_bytes += entry.encoded.num_bytes
            entry.references += 1
            self._entries.move_to_end(image_key)
            return entry.encoded

    def release(self, image_key: bytes) -> None:
        """Give back one use.

        Raises:
            FeaturesNotFoundError: The picture is not in use.
        """
        with self._lock:
            entry = self._entry(image_key)
            if not entry.references:
                raise FeaturesNotFoundError("The picture's features are not in use.")
            entry.references -= 1
            if not entry.references:
                self._referenced_bytes -= entry.encoded.num_bytes

    def _entry(self, image_key: bytes) -> _Entry:
        entry = self._entries.get(image_key)
        if entry is None:
            raise FeaturesNotFoundError("The picture's features are not kept; encode it again.")
        return entry

    def _evict(self, budget_bytes: int) -> None:
        """Drop pictures not in use, oldest first, until the rest fits the budget."""
        excess_bytes = self._kept_bytes - budget_bytes
        for key, entry in list(self._entries.items()) if excess_bytes > 0 else ():
            if excess_bytes > 0 and not entry.references:
                del self._entries[key]
                self._kept_bytes -= entry.encoded.num_bytes
                excess_bytes -= entry.encoded.num_bytes
