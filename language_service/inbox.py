"""Where embeddings wait: reserved whole and in order, filled by senders, freed with the request.

A request reserves the upper bound of all its pictures at once, first come first served, so no
request ever holds a part and waits for more: there is no deadlock. What the visual resolution
router saves is given back as soon as a manifest names it. Used from the event loop alone.

    reserve -> (skip) -> open -> write ... write -> commit -> on_arrival -> release
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import torch

from common.errors import (
    EmbeddingRejectedError,
    InvalidRequestError,
    SlotTakenError,
    UnavailableError,
)
from common.tensor_codec import bytes_tensor, checksum, is_finite, tensor_bytes
from language_service.embedding_manifest import EmbeddingFormat, Manifest


@dataclass(frozen=True, slots=True)
class ExpectedImage:
    """A picture that will arrive.

    Attributes:
        image_key: Hash of its bytes and processing options.
        num_tiles: Tiles, thumbnail included.
        compressed: Whether each tile is compressed; None where that is not decided yet.
    """

    image_key: bytes
    num_tiles: int
    compressed: tuple[bool, ...] | None = None


@dataclass(frozen=True, slots=True)
class ArrivedImage:
    """A picture that is here, whole and checked.

    Attributes:
        image_index: Position among the request's pictures.
        embeddings: [visual tokens, hidden_size].
        tile_tokens: Visual tokens of each tile.
    """

    image_index: int
    embeddings: torch.Tensor
    tile_tokens: tuple[int, ...]


@dataclass(slots=True)
class ImageSlot:
    """The place of one picture: expected, then being written, then full; or not needed at all.

    Attributes:
        expected: The picture.
        reserved_bytes: Held for it.
        tile_tokens: Visual tokens of each tile; None until they are decided.
        writer: Who is writing it.
        is_open: Whether it may still be written.
    """

    expected: ExpectedImage
    reserved_bytes: int
    tile_tokens: tuple[int, ...] | None = None
    writer: "EmbeddingWriter | None" = None
    is_open: bool = True


class Reservation:
    """The places of one request's pictures."""

    def __init__(self, request_id: str, slots: list[ImageSlot]) -> None:
        self.request_id = request_id
        self.slots = slots
        self.is_released = False
        self.on_arrival: Callable[[ArrivedImage], None] = lambda _: None
        """Told of each picture once; set it before the first can come."""

    @property
    def reserved_bytes(self) -> int:
        """Bytes held by this request."""
        return sum(slot.reserved_bytes for slot in self.slots)


@dataclass(frozen=True, slots=True)
class WaitingReservation:
    """A request that has not got its room yet."""

    reservation: Reservation
    admitted: asyncio.Event


class Inbox:
    """All reservations of one language replica, under one byte budget."""

    def __init__(self, max_bytes: int, accepted: EmbeddingFormat) -> None:
        self.max_bytes = max_bytes
        self.accepted = accepted
        self.received_bytes = 0
        self._reservations: dict[str, Reservation] = {}
        self._waiting: dict[str, WaitingReservation] = {}

    @property
    def reserved_bytes(self) -> int:
        """Bytes held by all requests; any thread may read it."""
        return sum(held.reserved_bytes for held in tuple(self._reservations.values()))

    @property
    def waiting_requests(self) -> int:
        """Requests that wait for room."""
        return len(self._waiting)

    @asynccontextmanager
    async def reserve(
        self, request_id: str, images: Sequence[ExpectedImage]
    ) -> AsyncIterator[Reservation]:
        """Hold room for all pictures of a request, for the length of the context.

        Raises:
            InvalidRequestError: The request is larger than the whole inbox, or its id is in use.
        """
        slots = [self._slot(image) for image in images]
        reservation = Reservation(request_id, slots)
        if reservation.reserved_bytes > self.max_bytes:
            raise InvalidRequestError(
                f"The pictures need {reservation.reserved_bytes} bytes of embeddings; "
                f"a request may have {self.max_bytes}.",
                "messages",
            )
        if request_id in self._reservations or request_id in self._waiting:
            raise InvalidRequestError("The request id is in use.", "request_id")
        try:
            await self._admit(reservation)
            yield reservation
        finally:
            reservation.is_released = True
            self._reservations.pop(request_id, None)
            self._waiting.pop(request_id, None)
            self._admit_waiting()

    def skip(self, reservation: Reservation, image_indexes: Iterable[int]) -> None:
        """Give back the room of pictures that need not come."""
        for image_index in image_indexes:
            slot = reservation.slots[image_index]
            slot.is_open, slot.reserved_bytes = False, 0
        self._admit_waiting()

    def open(self, manifest: Manifest) -> "EmbeddingWriter":
        """Check a manifest and take memory for its payload.

        Raises:
            EmbeddingRejectedError: Nobody waits for it, or its counts do not fit.
            MismatchError: Sender and receiver serve different models.
            SlotTakenError: The picture is here, or a later attempt is being written.
        """
        reservation = self._reservations.get(manifest.request_id)
        if reservation is None or manifest.image_index >= len(reservation.slots):
            raise EmbeddingRejectedError("No request waits for this embedding.")
        slot = reservation.slots[manifest.image_index]
        if slot.expected.image_key != manifest.image_key:
            raise EmbeddingRejectedError(
                "The embedding is of another picture than the one expected."
            )
        self.accepted.check(manifest, slot.expected.num_tiles)
        if not slot.is_open:
            raise SlotTakenError("The picture is here already.")
        if slot.tile_tokens not in {None, manifest.tile_tokens}:
            raise EmbeddingRejectedError(
                "The embedding has another resolution than the one decided for it."
            )
        if slot.writer is not None and not manifest.is_after(slot.writer.manifest):
            raise SlotTakenError("Another attempt is writing this picture.")
        slot.writer = EmbeddingWriter(self, reservation, slot, manifest)
        slot.tile_tokens, slot.reserved_bytes = manifest.tile_tokens, manifest.num_bytes
        self._admit_waiting()
        return slot.writer

    def _slot(self, image: ExpectedImage) -> ImageSlot:
        if image.compressed is None:
            return ImageSlot(image, self.accepted.max_bytes(image.num_tiles))
        tile_tokens = self.accepted.tile_tokens(image.compressed)
        return ImageSlot(image, sum(tile_tokens) * self.accepted.token_bytes, tile_tokens)

    async def _admit(self, reservation: Reservation) -> None:
        if not reservation.slots or (not self._waiting and self._fits(reservation)):
            self._reservations[reservation.request_id] = reservation
            return
        turn = WaitingReservation(reservation, asyncio.Event())
        self._waiting[reservation.request_id] = turn
        await turn.admitted.wait()

    def _fits(self, reservation: Reservation) -> bool:
        return self.reserved_bytes + reservation.reserved_bytes <= self.max_bytes

    def _admit_waiting(self) -> None:
        """Admit in order of arrival; the first that does not fit holds up all behind it."""
        for request_id, turn in list(self._waiting.items()):
            if not self._fits(turn.reservation):
                return
            del self._waiting[request_id]
            self._reservations[request_id] = turn.reservation
            turn.admitted.set()


class EmbeddingWriter:
    """Receives one embedding in order; nothing is visible before the commit.

    Attributes:
        manifest: What was promised.
        received_bytes: Payload bytes written so far.
    """

    def __init__(
        self, inbox: Inbox, reservation: Reservation, slot: ImageSlot, manifest: Manifest
    ) -> None:
        self.manifest = manifest
        self._inbox = inbox
        self._reservation = reservation
        self._slot = slot
        # Not set to zero: nothing is seen of it before all of it was written.
        self._payload = torch.empty(manifest.num_bytes, dtype=torch.uint8)
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
        self._inbox.received_bytes += manifest.num_bytes
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
