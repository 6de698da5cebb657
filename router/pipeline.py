"""READ FIRST: the life of a request.

    admit -> place -> open -> (encode -> decide -> push) -> generate -> stream -> release
               ^                                                  |
               +------- what the client has is kept <------ replica lost

The language replica reserves room before any picture is encoded, and says which pictures it needs:
where their resolutions follow from remembered scores, it may know their keys and values from an
earlier request. Pictures go straight from vision to language; the router sees only scores and
decides only masks. A language replica that is lost, at whatever stage, is replaced by another,
which goes on behind what the client has (`resumption.py`). Everything that is taken is held by a
context manager, so that success, failure, cancellation and deadline all give it back.
"""

import logging
import uuid
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import replace
from functools import partial

from common.config import OverloadConfig
from common.errors import DvdError, StrandedError, UnavailableError
from common.model_config import ModelConfig
from common.resolution_rule import ResolutionThresholds
from router.admission import Admission
from router.affinity_key import conversation_start
from router.answer import (
    AnswerDecided,
    AnswerFinished,
    AnswerStarted,
    AppliedResolution,
    TokenUsage,
)
from router.attempts import AttemptLostError
from router.deadline import Deadline
from router.delivery import PictureDelivery, deliver_while_open
from router.language_client import (
    AnswerDelta,
    AnswerEnd,
    AnswerOrder,
    LanguageClient,
)
from router.overload import under_load
from router.pooled_replica import PooledReplica
from router.replica_pool import ReplicaPool
from router.requests import ValidRequest
from router.resumption import Progress
from router.score_memory import ScoreMemory
from router.standing import Standing
from router.token_estimates import TokenEstimates
from router.vision_client import VisionClient

log = logging.getLogger(__name__)

AnswerEvent = AnswerStarted | AnswerDecided | AnswerDelta | AnswerFinished


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

    def check(self, standing: Standing) -> None:
        """Refuse at once what would be refused whatever it costs.

        Raises:
            OverloadedError: There is too much to do.
        """
        self._admission.check(standing)

    async def answer(
        self, request: ValidRequest, deadline: Deadline
    ) -> AsyncGenerator[AnswerEvent, None]:
        """Answer one request: started, decided where it has pictures, deltas, finished.

        Raises:
            DvdError: The request ends without an answer.
        """
        standing = Standing(request.tenant, request.priority, deadline.remaining())
        with self._admission.admit(request.cost, standing):
            progress = self._begin(request)
            attempts, start = progress.attempts, conversation_start(request)
            while True:
                await attempts.pause(self._languages, deadline)
                work = self._estimates.work(progress.request, progress.known(self._memory))
                with self._languages.lease(work, attempts.failed, start) as language:
                    if not attempts.num_failures:
                        yield progress.started
                    try:
                        async with aclosing(self._go_on(progress, language, deadline)) as events:
                            async for event in events:
                                yield event
                        return
                    except AttemptLostError as lost:
                        name = language.address.name
                        self._note_left(request, name, lost)
                        progress.note_loss()

    def _note_left(self, request: ValidRequest, name: str, lost: AttemptLostError) -> None:
        told = {"request_id": request.request_id}
        log.warning("%s leaves %s: %s", request.request_id, name, lost.__cause__, extra=told)

    async def _go_on(
        self, progress: Progress, language: PooledReplica[LanguageClient], deadline: Deadline
    ) -> AsyncGenerator[AnswerEvent, None]:
        """Answer at one replica what the client does not have yet.

        Raises:
            AttemptLostError: The replica is lost; another can go on.
            DvdError: The request has failed.
        """
        order, survivable = self._order(progress), partial(self._survivable, progress, language)
        with survivable():
            stream = language.client.open(order, self._fingerprint, deadline.remaining())
        try:
            with survivable(), language.judged():
                accepted = await stream.accepted()
            progress.seconds.queue += accepted.queue_seconds
            delivery = PictureDelivery(
                request=progress.request,
                name=order.name,
                language=language,
                visions=self._visions,
                pictures=progress.pictures,
                known=order.known,
                needed=frozenset(accepted.needed_images),
                memory=self._memory,
                seconds=progress.seconds,
                deadline=deadline,
            )
            with survivable(StrandedError):
                images = await deliver_while_open(delivery, stream)
            if decided := progress.decide(images):
                yield decided
            with survivable(), language.judged():
                async for event in stream.events():
                    if isinstance(event, AnswerEnd):
                        finished = self._finished(progress, event)
                        self._estimates.note(finished.usage, order.request.sampling.num_choices)
                        yield finished
                        return
                    progress.note(event)
                    yield event
                raise UnavailableError("The language replica ended without finishing the answer.")
        finally:
            stream.cancel()

    @contextmanager
    def _survivable(
        self,
        progress: Progress,
        language: PooledReplica[LanguageClient],
        blamed: type[DvdError] = DvdError,
    ) -> Iterator[None]:
        """Turn errors of a kind into one more attempt, where that may make them good."""
        try:
            yield
        except blamed as error:
            progress.attempts.note(error, language.address, self._languages)
            raise AttemptLostError from error

    def _begin(self, request: ValidRequest) -> Progress:
        """Settle by which rule the pictures are decided, for all attempts."""
        if request.continue_from is not None and request.continue_from.decided is not None:
            return Progress(request, None)
        chosen = self._under_load(request)
        return Progress(chosen, applied(chosen, request.thresholds))

    def _order(self, progress: Progress) -> AnswerOrder:
        request, name = progress.request, progress.request.request_id
        if progress.attempts.num_failures or request.continue_from is not None:
            # The replica, or one that another router has lost, may still know it by its name; no
            # client can give a line break in one.
            name = f"{name}\n{uuid.uuid4().hex}"
        return AnswerOrder(request, name, progress.known(self._memory), progress.answers)

    def _under_load(self, request: ValidRequest) -> ValidRequest:
        if request.thresholds is None:
            return request
        load = self._admission.load
        chosen = under_load(request.thresholds, request.scope, self._overload, load)
        return replace(request, thresholds=chosen)

    def _finished(self, progress: Progress, end: AnswerEnd) -> AnswerFinished:
        progress.note_end(end)
        images = progress.images
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
        self._estimates.note(usage, progress.request.sampling.num_choices)
        return AnswerFinished(
            end.finish_reason,
            usage,
            progress.seconds,
            images,
            end.stop,
            end.choices,
            progress.resolution,
            progress.attempts.num_failures,
        )


def applied(request: ValidRequest, asked: ResolutionThresholds | None) -> AppliedResolution | None:
    """The rule that a request is decided by, beside the thresholds that it asked for."""
    if request.thresholds is None:
        return None
    return AppliedResolution(request.scope, request.thresholds, request.thresholds != asked)
