"""Where embeddings wait: reserved whole and in order, filled by senders, freed with the request.

A request reserves the upper bound of all its pictures at once, first come first served, so no
request ever holds a part and waits for more: there is no deadlock. What the visual resolution
router saves is given back as soon as a manifest names it. Used from the event loop alone.

    reserve -> (skip) -> open -> write ... write -> commit -> on_arrival -> release
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from common.errors import EmbeddingRejectedError, InvalidRequestError, SlotTakenError
from language_service.embedding_manifest import EmbeddingFormat, Manifest
from language_service.embedding_writer import EmbeddingWriter
from language_service.reservation import ExpectedImage, ImageSlot, Reservation


@dataclass(frozen=True, slots=True)
class WaitingReservation:
    """A request that has not got its room yet."""

    reservation: Reservation
    admitted: asyncio.Event


class Inbox:
    """All reservations of one language replica, under one byte budget.

    Args:
        max_bytes: The budget.
        accepted: What embeddings must be.
        is_pinned: Whether they are received into page-locked memory, for a GPU. PyTorch rounds
            pieces of that up to powers of two.
    """

    def __init__(self, max_bytes: int, accepted: EmbeddingFormat, is_pinned: bool = False) -> None:
        self.max_bytes = max_bytes
        self.accepted = accepted
        self.received_bytes = 0
        self._is_pinned = is_pinned
        self._reservations: dict[str, Reservation] = {}
        self._waiting: dict[str, WaitingReservation] = {}

    @property
    def reserved_bytes(self) -> int:
        """Bytes held by all requests; any thread may read it."""
        return sum(held.reserved_bytes for held in tuple(self._reservations.values()))

    @property
    def admitted_requests(self) -> int:
        """Requests that hold a reservation."""
        return len(self._reservations)

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

    def open(self, manifest: Manifest) -> EmbeddingWriter:
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
        slot.writer = EmbeddingWriter(
            reservation, slot, manifest, self._note_commit, self._is_pinned
        )
        slot.tile_tokens, slot.reserved_bytes = manifest.tile_tokens, manifest.num_bytes
        self._admit_waiting()
        return slot.writer

    def _note_commit(self, manifest: Manifest) -> None:
        self.received_bytes += manifest.num_bytes

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
