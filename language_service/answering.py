"""One answer on a language replica: tokenise, check, reserve, look up, generate.

The asyncio side of the engine. The prompt is submitted before its pictures have come, and each
picture is supplied as it does. Whatever ends the answer early, the engine forgets the sequence and
the context manager gives back the reservation, in that order.
"""

import asyncio
import math
import time
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass

from common.errors import InvalidRequestError, MismatchError
from common.types import SamplingParameters
from language_service.engine import LanguageEngine
from language_service.generation import (
    EngineEvent,
    GenerationFailed,
    GenerationFinished,
    GenerationRequest,
    TokensGenerated,
)
from language_service.generation_defaults import SamplingDefaults, check_token_ids
from language_service.inbox import ArrivedImage, Inbox, Reservation
from language_service.picture_reuse import reuse_pictures
from language_service.prompt import PromptLayout, VisualSegment
from language_service.requests import LanguageRequest
from language_service.token_keys import picture_identity
from language_service.tokenizer import ChatTokenizer


@dataclass(frozen=True, slots=True)
class Accepted:
    """Room is reserved; the pictures may come.

    Attributes:
        needed_images: Positions of the pictures to send.
        queue_seconds: Time from arrival to reservation.
    """

    needed_images: tuple[int, ...]
    queue_seconds: float


@dataclass(frozen=True, slots=True)
class Answered:
    """The answer is complete.

    Attributes:
        finished: What the engine says.
        num_text_tokens: Prompt tokens that are text.
        num_visual_tokens: Prompt tokens that are pictures.
    """

    finished: GenerationFinished
    num_text_tokens: int
    num_visual_tokens: int


AnswerEvent = Accepted | TokensGenerated | Answered


@dataclass(frozen=True, slots=True)
class AnswerDefaults:
    """What requests leave open.

    Attributes:
        max_tokens: Answer limit, cut to the context that is left.
        sampling: The checkpoint's.
    """

    max_tokens: int
    sampling: SamplingDefaults


class Answerer:
    """Answers requests on one engine and one inbox.

    Attributes:
        num_reused_images: Pictures that were neither encoded nor sent.
    """

    def __init__(
        self,
        tokenizer: ChatTokenizer,
        inbox: Inbox,
        engine: LanguageEngine,
        defaults: AnswerDefaults,
    ) -> None:
        self._tokenizer = tokenizer
        self._inbox = inbox
        self._engine = engine
        self._defaults = defaults
        self.num_reused_images = 0

    def token_text(self, token_id: int) -> str:
        """Text of one token alone."""
        return self._tokenizer.token_text(token_id)

    async def answer(
        self, request: LanguageRequest, timeout_seconds: float | None = None
    ) -> AsyncGenerator[AnswerEvent, None]:
        """Answer one request: accepted, tokens, answered.

        Raises:
            MismatchError: The router paired another model.
            InvalidRequestError: The prompt does not fit.
            DeadlineExpiredError: The time is over.
        """
        arrived_at = time.monotonic()
        ours = self._inbox.accepted.model_fingerprint
        if request.model_fingerprint != ours:
            raise MismatchError(
                "Model fingerprint differs: the router paired "
                f"{request.model_fingerprint}, this replica serves {ours}."
            )
        deadline = math.inf if timeout_seconds is None else arrived_at + timeout_seconds
        layout = await asyncio.to_thread(self._tokenizer.layout, request.messages)
        sampling = self._sampling(request, layout)
        async with self._inbox.reserve(request.request_id, request.images) as reservation:
            answer = _Answer(request.request_id, self._engine)
            self._submit(answer, request, layout, sampling, deadline, reservation)
            try:
                needed = tuple(i for i, slot in enumerate(reservation.slots) if slot.is_open)
                yield Accepted(needed, time.monotonic() - arrived_at)
                async for event in answer.events(layout.num_text_tokens):
                    yield event
            finally:
                self._engine.cancel(request.request_id)

    def _submit(
        self,
        answer: "_Answer",
        request: LanguageRequest,
        layout: PromptLayout,
        sampling: SamplingParameters,
        deadline: float,
        reservation: Reservation,
    ) -> None:
        """Hold the pictures that the cache knows and give the rest to the engine as it comes."""
        reuse = reuse_pictures(layout, request.images, self._inbox.accepted, self._engine)
        self._inbox.skip(reservation, reuse.image_indexes)
        self.num_reused_images += len(reuse.image_indexes)
        answer.num_visual_tokens = reuse.num_visual_tokens
        images = request.images
        reservation.on_arrival = lambda arrived: answer.supply(
            arrived, images[arrived.image_index].image_key
        )
        generation = GenerationRequest(
            request.request_id, reuse.prompt, sampling, answer.pass_on, reuse.hold,
            request.priority, deadline,
        )  # fmt: skip
        try:
            self._engine.submit(generation)
        except InvalidRequestError:
            if reuse.hold is not None:
                self._engine.let_go(reuse.hold)
            raise

    def _sampling(self, request: LanguageRequest, layout: PromptLayout) -> SamplingParameters:
        """Fill in defaults and check that prompt and answer fit, at full resolution."""
        tiles = sum(image.num_tiles for image in request.images)
        num_prompt_tokens = layout.num_text_tokens + tiles * self._inbox.accepted.full_tokens
        room = self._engine.max_request_tokens - num_prompt_tokens
        asked = request.sampling
        max_tokens = asked.max_tokens or max(1, min(self._defaults.max_tokens, room))
        self._engine.check_fits(num_prompt_tokens, max_tokens)
        check_token_ids(asked, self._tokenizer.vocabulary_size)
        return self._defaults.sampling.resolve(asked, max_tokens)


class _Answer:
    """One answer under way, on the event loop."""

    def __init__(self, request_id: str, engine: LanguageEngine) -> None:
        self._request_id = request_id
        self._engine = engine
        self._loop = asyncio.get_running_loop()
        self._events: asyncio.Queue[EngineEvent] = asyncio.Queue()
        self.num_visual_tokens = 0

    def pass_on(self, event: EngineEvent) -> None:
        """Take an event from the engine's thread."""
        self._loop.call_soon_threadsafe(self._events.put_nowait, event)

    def supply(self, arrived: ArrivedImage, image_key: bytes) -> None:
        """Give a picture that has come to the engine."""
        identity = picture_identity(image_key, arrived.tile_tokens)
        self.num_visual_tokens += arrived.embeddings.shape[0]
        picture = VisualSegment(arrived.embeddings, identity)
        self._engine.supply(self._request_id, arrived.image_index, picture)

    async def events(self, num_text_tokens: int) -> AsyncIterator[TokensGenerated | Answered]:
        """Follow the answer to its end.

        Raises:
            DvdError: It has failed.
        """
        while True:
            event = await self._events.get()
            if isinstance(event, GenerationFailed):
                raise event.error
            if isinstance(event, GenerationFinished):
                if event.text:
                    yield TokensGenerated((), event.text)
                yield Answered(event, num_text_tokens, self.num_visual_tokens)
                return
            yield event
