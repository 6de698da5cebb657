"""One answer on a language replica: tokenise, check, reserve, look up, generate.

The asyncio side of the engine. The prompt is submitted before its pictures have come, and each
picture is supplied as it does. Whatever ends the answer early, the engine forgets the sequence and
the context manager gives back the reservation, in that order.
"""

import asyncio
import math
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass, replace
from functools import cached_property

from common.errors import MismatchError
from common.types import SamplingParameters
from language_service.choices import Choices
from language_service.engine import LanguageEngine
from language_service.generation import GenerationFinished, GenerationRequest, TokensGenerated
from language_service.generation_defaults import SamplingDefaults, check_token_ids
from language_service.inbox import Inbox
from language_service.loop_mail import LoopMail
from language_service.picture_reuse import reuse_pictures
from language_service.prompt import Prompt, PromptLayout, VisualSegment
from language_service.requests import LanguageRequest
from language_service.reservation import ArrivedImage, ExpectedImage, Reservation
from language_service.resumption import ResumedAnswer, check_answers, resume
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
        choices: What the engine says of each choice, in order.
        num_text_tokens: Prompt tokens that are text.
        num_visual_tokens: Prompt tokens that are pictures.
    """

    choices: tuple[GenerationFinished, ...]
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

    @cached_property
    def _mail(self) -> LoopMail:
        """To the loop on which requests are answered, which is not there from the start."""
        return LoopMail(asyncio.get_running_loop())

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
        choices = Choices(
            self._engine,
            request.sampling.num_choices,
            self._mail,
            await self._resume(request, sampling),
        )
        # Answers that are complete need no pictures.
        wanted = () if choices.is_complete else request.images
        async with self._inbox.reserve(request.request_id, wanted) as reservation:
            try:
                generation = GenerationRequest(
                    request.request_id, Prompt(layout.segments), sampling, choices.pass_on,
                    priority=request.priority, deadline=deadline,
                )  # fmt: skip
                if not choices.is_complete:
                    self._submit(choices, generation, request, layout, reservation)
                needed = tuple(i for i, slot in enumerate(reservation.slots) if slot.is_open)
                yield Accepted(needed, time.monotonic() - arrived_at)
                async for event in choices.events():
                    if isinstance(event, TokensGenerated):
                        yield event
                    else:
                        yield self._answered(event.choices, request, layout, choices)
            finally:
                choices.close()

    def _answered(
        self,
        ends: tuple[GenerationFinished, ...],
        request: LanguageRequest,
        layout: PromptLayout,
        choices: Choices,
    ) -> Answered:
        if choices.is_complete:
            num_visual_tokens = self._num_visual_tokens(request.images)
        else:
            num_visual_tokens = choices.prompt.num_visual_tokens
        return Answered(ends, layout.num_text_tokens, num_visual_tokens)

    def _submit(
        self,
        choices: Choices,
        generation: GenerationRequest,
        request: LanguageRequest,
        layout: PromptLayout,
        reservation: Reservation,
    ) -> None:
        """Hold the pictures that the cache knows and give the rest to the engine as it comes."""
        reuse = reuse_pictures(layout, request.images, self._inbox.accepted, self._engine)
        self._inbox.skip(reservation, reuse.image_indexes)
        self.num_reused_images += len(reuse.image_indexes)

        def supply(arrived: ArrivedImage) -> None:
            key = request.images[arrived.image_index].image_key
            identity = picture_identity(key, arrived.tile_tokens)
            choices.supply(arrived.image_index, VisualSegment(arrived.embeddings, identity))

        reservation.on_arrival = supply
        choices.submit(replace(generation, prompt=reuse.prompt, hold=reuse.hold))

    async def _resume(
        self, request: LanguageRequest, sampling: SamplingParameters
    ) -> tuple[ResumedAnswer, ...]:
        if not request.answers:
            return ()
        check_answers(request.answers, sampling, self._tokenizer.vocabulary_size)
        detokenizer = self._tokenizer.detokenizer
        return await asyncio.to_thread(resume, request.answers, sampling, detokenizer)

    def _num_visual_tokens(self, images: tuple[ExpectedImage, ...]) -> int:
        """Of pictures that are decided; the door lets no tokens in without that."""
        decided = [each.compressed for each in images if each.compressed is not None]
        return sum(sum(self._inbox.accepted.tile_tokens(each)) for each in decided)

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
