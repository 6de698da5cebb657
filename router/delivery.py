"""Bring one request's pictures to its language replica: encode -> decide -> push.

Every picture that the language replica needs is encoded on the vision replica that has the least
to do. With scope `request` the decision waits for the last picture's scores, unless all are
remembered; otherwise each picture is decided and pushed alone, as soon as it is encoded. A picture
whose vision replica is lost is encoded once more, elsewhere if there is an elsewhere; the mask
stays the same.
"""

import asyncio
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from common.errors import (
    DvdError,
    FeaturesNotFoundError,
    InvalidImageError,
    SlotTakenError,
    UnavailableError,
)
from common.resolution_rule import decide
from common.types import ResolutionScope
from router.answer import ImageResolution, StageSeconds
from router.deadline import Deadline
from router.known_resolutions import KnownResolution
from router.language_client import LanguageClient
from router.pooled_replica import PooledReplica
from router.replica_pool import ReplicaPool
from router.requests import ValidRequest
from router.score_memory import ScoreMemory, Scores
from router.vision_client import Destination, Encoding, PlannedPush, PushReceipt, VisionClient

T = TypeVar("T")
Mask = tuple[bool, ...]

ATTEMPTS = 2


@dataclass(frozen=True, slots=True)
class PlacedEncoding:
    """A picture's scores, and the replica that keeps its features."""

    encoding: Encoding
    replica: PooledReplica[VisionClient]


@dataclass(frozen=True, slots=True)
class PictureDelivery:
    """Delivers the pictures of one request.

    Attributes:
        request: Whose pictures.
        language: Replica that has accepted the request.
        visions: Where pictures are encoded.
        known: Resolutions that were decided before, by picture; the others are None.
        needed: Pictures that the language replica wants; their resolutions are known for the rest.
        memory: Gets the scores of every picture that is encoded.
        seconds: Gets the time of every stage added.
        deadline: When the request must end.
    """

    request: ValidRequest
    language: PooledReplica[LanguageClient]
    visions: ReplicaPool[VisionClient]
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
        placed = await run_all(self._encode(index, None) for index in images)
        masks = self._decide(images, placed)
        await run_all(self._push(index, placed[index], masks[index]) for index in images)
        return tuple(
            self._resolution(index, placed[index].encoding.scores, masks[index]) for index in images
        )

    async def _deliver_alone(self, index: int) -> ImageResolution:
        known = self.known[index]
        if known is not None and index not in self.needed:
            return self._resolution(index, known.scores, known.compressed)
        placed = await self._encode(index, None if known is None else known.compressed)
        (mask,) = self._decide([index], [placed]) if known is None else (known.compressed,)
        await self._push(index, placed, mask)
        return self._resolution(index, placed.encoding.scores, mask)

    def _decide(self, images: Iterable[int], placed: list[PlacedEncoding]) -> tuple[Mask, ...]:
        if self.request.thresholds is None:
            return tuple((False,) * self.request.images[index].grid.num_tiles for index in images)
        scores = [each.encoding.scores for each in placed]
        return decide(scores, self.request.thresholds, self.request.scope)

    async def _encode(
        self, index: int, mask: Mask | None, avoid: str | None = None
    ) -> PlacedEncoding:
        """Encode a picture; where its mask is decided, its embedding may do instead."""
        image = self.request.images[index]
        planned = None if mask is None else PlannedPush(mask, self.language.dtype)
        for attempt in range(1, ATTEMPTS + 1):
            with self.visions.lease(image.grid.num_tiles, avoid) as replica:
                try:
                    with replica.judged():
                        encoding = await replica.client.encode(
                            self.request.request_id, image, planned, self.deadline.remaining()
                        )
                except InvalidImageError as error:
                    raise InvalidImageError(error.message, image.field) from error
                except UnavailableError:
                    if attempt == ATTEMPTS:
                        raise
                    avoid = replica.address.name
                    continue
            self._note_encoding(encoding)
            if self.request.thresholds is not None:
                self.memory.remember(image.key, encoding.scores)
            return PlacedEncoding(encoding, replica)
        raise AssertionError("the last attempt returns or raises")

    async def _push(self, index: int, placed: PlacedEncoding, mask: Mask) -> None:
        key = self.request.images[index].key
        for attempt in range(1, ATTEMPTS + 1):
            slot = Destination(
                address=self.language.address.address,
                dtype=self.language.dtype,
                request_id=self.request.request_id,
                image_index=index,
                attempt=attempt - 1,
            )
            try:
                receipt = await placed.replica.client.push(
                    key, mask, slot, self.deadline.remaining()
                )
            except SlotTakenError:
                return
            except (UnavailableError, FeaturesNotFoundError) as error:
                if attempt == ATTEMPTS:
                    raise UnavailableError(error.message) from error
                lost = isinstance(error, UnavailableError)
                avoid = placed.replica.address.name if lost else None
                placed = await self._encode(index, mask, avoid)
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
