"""READ FIRST: the life of a request.

    admit -> place -> open -> (encode -> decide -> push) -> generate -> stream -> release

The language replica reserves room before any picture is encoded, and says which pictures it needs:
where their resolutions follow from remembered scores, it may know their keys and values from an
earlier request. Pictures go straight from vision to language; the router sees only scores and
decides only masks. Everything that is taken is held by a context manager, so that success,
failure, cancellation and deadline all give it back.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator
from dataclasses import replace

from common.config import OverloadConfig
from common.errors import UnavailableError
from common.model_config import ModelConfig
from common.resolution_rule import ResolutionThresholds
from router.admission import Admission
from router.affinity_key import conversation_start
from router.answer import (
    AnswerFinished,
    AnswerStarted,
    AppliedResolution,
    ImageResolution,
    StageSeconds,
    TokenUsage,
)
from router.deadline import Deadline
from router.delivery import PictureDelivery
from router.known_resolutions import known_resolutions
from router.language_client import AnswerDelta, AnswerEnd, LanguageClient, LanguageStream
from router.overload import under_load
from router.replica_pool import ReplicaPool
from router.requests import ValidRequest
from router.score_memory import ScoreMemory
from router.token_estimates import TokenEstimates
from router.vision_client import VisionClient

AnswerEvent = AnswerStarted | AnswerDelta | AnswerFinished


class Pipeline:
    """Takes valid requests through all stages."""

    def __init__(
        self,
        model: ModelConfig,
        admission: Admission,
        visions: ReplicaPool[VisionClient],
        languages: ReplicaPool[LanguageClient],
        fingerprint: str,
        memory: ScoreMemory,
        overload: OverloadConfig | None = None,
    ) -> None:
        self._model = model
        self._estimates = TokenEstimates(model)
        self._overload = overload
        self._memory = memory
        self._admission = admission
        self._visions = visions
        self._languages = languages
        self._fingerprint = fingerprint

    async def answer(
        self, request: ValidRequest, deadline: Deadline
    ) -> AsyncGenerator[AnswerEvent, None]:
        """Answer one request: started, deltas, finished.

        Raises:
            DvdError: The request ends without an answer.
        """
        arrived_at = time.monotonic()
        seconds = StageSeconds()
        with contextlib.ExitStack() as held:
            held.enter_context(self._admission.admit(request.cost))
            asked, request = request.thresholds, self._under_load(request)
            known = known_resolutions(request, self._memory)
            work, start = self._estimates.work(request, known), conversation_start(request)
            language = held.enter_context(self._languages.lease(work, key=start))
            tiles = tuple(image.grid.num_tiles for image in request.images)
            yield AnswerStarted(request.request_id, request.sampling.seed, tiles)
            stream = language.client.open(request, known, self._fingerprint, deadline.remaining())
            try:
                accepted = await stream.accepted()
                seconds.queue += accepted.queue_seconds
                delivery = PictureDelivery(
                    request=request,
                    language=language,
                    visions=self._visions,
                    known=known,
                    needed=frozenset(accepted.needed_images),
                    memory=self._memory,
                    seconds=seconds,
                    deadline=deadline,
                )
                images = await deliver_while_open(delivery, stream)
                async for event in stream.events():
                    if isinstance(event, AnswerEnd):
                        seconds.total = time.monotonic() - arrived_at
                        finished = self._finished(event, seconds, images, applied(request, asked))
                        self._estimates.note(finished.usage, request.sampling.num_choices)
                        yield finished
                        return
                    if not seconds.time_to_first_token:
                        seconds.time_to_first_token = time.monotonic() - arrived_at
                    yield event
            finally:
                stream.cancel()
        raise UnavailableError("The language replica ended without finishing the answer.")

    def _under_load(self, request: ValidRequest) -> ValidRequest:
        if request.thresholds is None:
            return request
        load = self._admission.load
        chosen = under_load(request.thresholds, request.scope, self._overload, load)
        return replace(request, thresholds=chosen)

    def _finished(
        self,
        end: AnswerEnd,
        seconds: StageSeconds,
        images: tuple[ImageResolution, ...],
        resolution: AppliedResolution | None,
    ) -> AnswerFinished:
        seconds.queue += end.queue_seconds
        seconds.prefill = end.prefill_seconds
        seconds.decode = end.decode_seconds
        tiles = sum(image.grid.num_tiles for image in images)
        usage = TokenUsage(
            text_tokens=end.text_tokens,
            visual_tokens=end.visual_tokens,
            visual_tokens_before_resolution=tiles * self._model.full_tokens_per_tile,
            tiles=tiles,
            compressed_tiles=sum(sum(image.compressed) for image in images),
            completion_tokens=end.completion_tokens,
            cached_tokens=end.cached_tokens,
        )
        return AnswerFinished(
            end.finish_reason, usage, seconds, images, end.stop, end.choices, resolution
        )


def applied(request: ValidRequest, asked: ResolutionThresholds | None) -> AppliedResolution | None:
    """The rule that a request is decided by, beside the thresholds that it asked for."""
    if request.thresholds is None:
        return None
    return AppliedResolution(request.scope, request.thresholds, request.thresholds != asked)


async def deliver_while_open(
    delivery: PictureDelivery, stream: LanguageStream
) -> tuple[ImageResolution, ...]:
    """Deliver the pictures, but give up as soon as the answer stream ends without them."""
    pictures = asyncio.create_task(delivery.deliver())
    ended = asyncio.create_task(stream.ended())
    try:
        await asyncio.wait({pictures, ended}, return_when=asyncio.FIRST_COMPLETED)
        if pictures.done():
            return pictures.result()
        async for _ in stream.events():
            pass
        raise UnavailableError("The language replica ended before its pictures arrived.")
    finally:
        pictures.cancel()
        ended.cancel()
        await asyncio.gather(pictures, ended, return_exceptions=True)
