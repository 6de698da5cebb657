"""Fills one place of the inbox: chunks in order, each checked, then the commit."""

from collections.abc import Callable

import torch

from common.errors import EmbeddingRejectedError, SlotTakenError, UnavailableError
from common.tensor_codec import bytes_tensor, checksum, is_finite, tensor_bytes
from language_service.embedding_manifest import Manifest
from language_service.reservation import ArrivedImage, ImageSlot, Reservation


class EmbeddingWriter:
    """Receives one embedding in order; nothing is visible before the commit.

    Attributes:
        manifest: What was promised.
        received_bytes: Payload bytes written so far.
    """

    def __init__(
        self,
        reservation: Reservation,
        slot: ImageSlot,
        manifest: Manifest,
        on_commit: Callable[[Manifest], None],
        is_pinned: bool = False,
    ) -> None:
        """Take memory for the payload.

        Args:
            reservation: Of the request.
            slot: The place to fill.
            manifest: What was promised, checked.
            on_commit: Told once, when all of it is there.
            is_pinned: Whether the memory is page-locked, so that a GPU takes it without a further
                copy.
        """
        self.manifest = manifest
        self._on_commit = on_commit
        self._reservation = reservation
        self._slot = slot
        # Not set to zero: nothing is seen of it before all of it was written.
        self._payload = torch.empty(manifest.num_bytes, dtype=torch.uint8, pin_memory=is_pinned)
        self._bytes = tensor_bytes(self._payload)
        self.received_bytes = 0

    def write(self, byte_offset: int, checksum_value: int, data: bytes | memoryview) -> None:
        """Take one chunk.

        Raises:
            SlotTakenError: A later attempt replaced this one.
            EmbeddingRejectedError: Out of order, too long, empty, or no longer wanted.
            UnavailableError: Damaged on its way; the next try may come through whole.
        """
        self._check_turn()
        if byte_offset != self.received_bytes:
            raise EmbeddingRejectedError(
                f"A chunk starts at byte {byte_offset}; expected is {self.received_bytes}."
            )
        end = byte_offset + len(data)
        if not data or end > self.manifest.num_bytes:
            raise EmbeddingRejectedError(
                f"A chunk ends at byte {end} of {self.manifest.num_bytes} or is empty."
            )
        if checksum(data) != checksum_value:
            raise UnavailableError(f"The chunk at byte {byte_offset} fails its checksum.")
        self._bytes[byte_offset:end] = data
        self.received_bytes = end

    def commit(self) -> None:
        """Make the embedding visible.

        Raises:
            SlotTakenError: A later attempt replaced this one.
            EmbeddingRejectedError: Bytes are missing, a value is not finite, or the request ended.
        """
        self._check_turn()
        if self.received_bytes != self.manifest.num_bytes:
            raise EmbeddingRejectedError(
                f"The stream ended after {self.received_bytes} of {self.manifest.num_bytes} bytes."
            )
        manifest = self.manifest
        embeddings = bytes_tensor(self._payload, manifest.dtype, manifest.hidden_size)
        if not is_finite(embeddings):
            raise EmbeddingRejectedError("The embedding holds a value that is not finite.")
        self._slot.is_open = False
        self._slot.writer = None
        self._on_commit(manifest)
        self._reservation.on_arrival(
            ArrivedImage(manifest.image_index, embeddings, manifest.tile_tokens)
        )

    def close(self) -> None:
        """Give the place up unless it was committed, so that another attempt may write."""
        if self._slot.writer is self:
            self._slot.writer = None

    def _check_turn(self) -> None:
        if self._reservation.is_released:
            raise EmbeddingRejectedError("No request waits for this embedding.")
        if self._slot.writer is not self:
            raise SlotTakenError("A later attempt is writing this picture.")
