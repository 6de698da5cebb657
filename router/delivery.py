"""Bring one request's pictures to its language replica: encode -> decide -> push.

Every picture that the language replica needs is encoded on the vision replica that has the least
to do. With scope `request` the decision waits for the last picture's scores, unless all are
remembered; otherwise each picture is decided and pushed alone, as soon as it is encoded. A picture
whose vision replica is lost is encoded again, elsewhere if there is an elsewhere; the others stay
where they are, and every mask stays the same. A push that fails is made again by the replica that
keeps the features, for as long as there is one.
"""

import asyncio
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from common.errors import (
    DvdError,
    EmbeddingRejectedError,
    FeaturesNotFoundError,
    InvalidImageError,
    SlotTakenError,
    StrandedError,
    UnavailableError,
    UnreachableError,
)
from common.resolution_rule import decide
from common.types import ResolutionScope
from router.answer import ImageResolution, StageSeconds
from router.attempts import Attempts, is_lost
from router.deadline import Deadline
from router.known_resolutions import KnownResolution
from router.language_client import LanguageClient, LanguageStream
from router.placed_pictures import PlacedEncoding, PlacedPictures
from router.pooled_replica import PooledReplica
from router.replica_pool import ReplicaPool
from router.requests import ValidRequest
from router.score_memory import ScoreMemory, Scores
from router.vision_client import Destination, Encoding, PlannedPush, PushReceipt, VisionClient

T = TypeVar("T")
Mask = tuple[bool, ...]

# Pushes of a picture from one replica that find no way to the language replica.
MAX_STRANDED = 2
# For an answer stream to end, where a picture of it has been refused.
REJECTION_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class PictureDelivery:
    """Delivers the pictures of one request.

    Attributes:
        request: Whose pictures.
        name: Of the request at the language replica.
        language: Replica that has accepted the request.
        visions: Where pictures are encoded.
        pictures: Where the request's features are; outlives this delivery.
        known: Resolutions that were decided before, by picture; the others are None.
        needed: Pictures that the language replica wants; their resolutions are known for the rest.
        memory: Gets the scores of every picture that is encoded.
        seconds: Gets the time of every stage added.
        deadline: When the request must end.
    """

    request: ValidRequest
    name: str
    language: PooledReplica[LanguageClient]
    visions: ReplicaPool[VisionClient]
    pictures: PlacedPictures
    known: tuple[KnownResolution | None, ...]
    needed: frozenset[int]
    memory: ScoreMemory
    seconds: StageSeconds
    deadline: Deadline

    async def deliver(self) -> tuple[ImageResolution, ...]:
        """Deliver every picture; say how each was cut and compressed.

        Raises:
            DvdError: A picture could not be delivered.
        """
        images = range(len(self.request.images))
        if self.request.scope is not ResolutionScope.REQUEST or None not in self.known:
            return tuple(await run_all(self._deliver_alone(index) for index in images))
        placed = await run_all(self._place(index, None) for index in images)
        masks = self._decide(images, placed)
        await run_all(self._push(index, placed[index], masks[index]) for index in images)
        return tuple(
            self._resolution(index, placed[index].encoding.scores, masks[index]) for index in images
        )

    async def _deliver_alone(self, index: int) -> ImageResolution:
        known = self.known[index]
        if known is not None and index not in self.needed:
            return self._resolution(index, known.scores, known.compressed)
        placed = await self._place(index, None if known is None else known.compressed)
        (mask,) = self._decide([index], [placed]) if known is None else (known.compressed,)
        await self._push(index, placed, mask)
        return self._resolution(index, placed.encoding.scores, mask)

    def _decide(self, images: Iterable[int], placed: list[PlacedEncoding]) -> tuple[Mask, ...]:
        if self.request.thresholds is None:
            return tuple((False,) * self.request.images[index].grid.num_tiles for index in images)
        scores = [each.encoding.scores for each in placed]
        return decide(scores, self.request.thresholds, self.request.scope)

    async def _place(self, index: int, mask: Mask | None) -> PlacedEncoding:
        """Encode a picture, unless a replica keeps its features for this request already."""
        return self.pictures.find(index) or await self._encode(index, mask)

    async def _encode(self, index: int, mask: Mask | None) -> PlacedEncoding:
        """Encode a picture; where its mask is decided, its embedding may do instead."""
        image = self.request.images[index]
        planned = None if mask is None else PlannedPush(mask, self.language.dtype)
        attempts = Attempts(self.pictures.failed)
        work, key = image.grid.num_tiles, image.key
        while True:
            await attempts.pause(self.visions, self.deadline)
            with self.visions.lease(work, attempts.failed, key) as replica:
                try:
                    with replica.judged():
                        encoding = await replica.client.encode(
                            self.request.request_id, image, planned, self.deadline.remaining()
                        )
                    break
                except InvalidImageError as error:
                    raise InvalidImageError(error.message, image.field) from error
                except DvdError as error:
                    attempts.note(error, replica.address, self.visions)
        self._note_encoding(encoding)
        if self.request.thresholds is not None:
            self.memory.remember(image.key, encoding.scores)
        placed = PlacedEncoding(encoding, replica)
        self.pictures.put(index, placed)
        return placed

    async def _push(self, index: int, placed: PlacedEncoding, mask: Mask) -> None:
        key, attempts, num_stranded = self.request.images[index].key, Attempts(), 0
        while True:
            slot = Destination(
                address=self.language.address.address,
                dtype=self.language.dtype,
                request_id=self.name,
                image_index=index,
                attempt=attempts.num_failures,
            )
            try:
                receipt = await placed.replica.client.push(
                    key, mask, slot, self.deadline.remaining()
                )
            except SlotTakenError:
                return
            except EmbeddingRejectedError:
                # An earlier attempt got through and the answer is over; if not, its stream says so.
                if not attempts.num_failures:
                    raise
                return
            except FeaturesNotFoundError as error:
                attempts.count(UnavailableError(error.message), True, self.visions)
                placed = await self._encode(index, mask)
            except DvdError as error:
                is_stranded = is_told_of_another(error)
                told = StrandedError(error.message) if is_stranded else error
                attempts.count(told, is_lost(error), self.visions)
                num_stranded += is_stranded
                if not is_stranded or num_stranded == MAX_STRANDED:
                    self.pictures.failed.add(placed.replica.address)
                    placed, num_stranded = await self._encode(index, mask), 0
            else:
                self._note_push(receipt)
                return

    def _resolution(self, index: int, scores: Scores, mask: Mask) -> ImageResolution:
        image = self.request.images[index]
        return ImageResolution(image.grid, scores, mask, image.orientation)

    def _note_encoding(self, encoding: Encoding) -> None:
        self.seconds.queue += encoding.queue_seconds
        self.seconds.preprocess += encoding.preprocess_seconds
        self.seconds.vit += encoding.vit_seconds
        self.seconds.gate += encoding.gate_seconds

    def _note_push(self, receipt: PushReceipt) -> None:
        self.seconds.project += receipt.project_seconds
        self.seconds.transfer += receipt.transfer_seconds


def is_told_of_another(error: DvdError) -> bool:
    """Whether a vision replica is well, and says that it does not get through to another."""
    return isinstance(error, UnavailableError) and not isinstance(error, UnreachableError)


async def run_all(work: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Run coroutines together; the first failure cancels the rest and is raised alone.

    Raises:
        DvdError: The first failure.
    """
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(each) for each in work]
    except* DvdError as failures:
        raise failures.exceptions[0] from None
    return [task.result() for task in tasks]


async def deliver_while_open(
    delivery: PictureDelivery, stream: LanguageStream
) -> tuple[ImageResolution, ...]:
    """Deliver the pictures, but give up as soon as the answer stream ends without them.

    Returns:
        How they are compressed; nothing where the stream, which is to be read on, ended first.
    """
    pictures = asyncio.create_task(delivery.deliver())
    ended = asyncio.create_task(stream.ended())
    try:
        await asyncio.wait({pictures, ended}, return_when=asyncio.FIRST_COMPLETED)
        if not delivery.needed:
            # An answer that was complete ends at once, and nothing is waited for here.
            await pictures
        elif isinstance(pictures.done() and pictures.exception(), EmbeddingRejectedError):
            # It may be because the request is no longer there; then the stream says why.
            await asyncio.wait({ended}, timeout=REJECTION_SECONDS)
        is_cut = ended.done() and (not pictures.done() or pictures.exception() is not None)
        return () if is_cut else pictures.result()
    finally:
        pictures.cancel()
        ended.cancel()
        await asyncio.gather(pictures, ended, return_exceptions=True)
