"""One answer on a language replica: tokenise, check, reserve, wait for the pictures, generate.

The asyncio side of the engine. Whatever ends the answer early, the context managers give back the
reservation and the engine forgets the sequence.
"""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

import torch

from common.errors import MismatchError
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
from language_service.inbox import Inbox
from language_service.prompt import ImageSegment, Prompt, PromptLayout, VisualSegment
from language_service.requests import LanguageRequest
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
    """Answers requests on one engine and one inbox."""

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

    def token_text(self, token_id: int) -> str:
        """Text of one token alone."""
        return self._tokenizer.token_text(token_id)

    async def answer(self, request: LanguageRequest) -> AsyncGenerator[AnswerEvent, None]:
        """Answer one request: accepted, tokens, answered.

        Raises:
            MismatchError: The router paired another model.
            InvalidRequestError: The prompt does not fit.
        """
        arrived_at = time.monotonic()
        ours = self._inbox.accepted.model_fingerprint
        if request.model_fingerprint != ours:
            raise MismatchError(
                "Model fingerprint differs: the router paired "
                f"{request.model_fingerprint}, this replica serves {ours}."
            )
        layout = await asyncio.to_thread(self._tokenizer.layout, request.messages)
        sampling = self._sampling(request, layout)
        async with self._inbox.reserve(request.request_id, request.images) as reservation:
            needed = tuple(range(len(request.images)))
            yield Accepted(needed, time.monotonic() - arrived_at)
            prompt = fill(layout, await reservation.arrived())
            # Closed here and not by the garbage collector, so that the engine stops first.
            async with aclosing(self._generate(request.request_id, prompt, sampling)) as events:
                async for event in events:
                    yield event

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

    async def _generate(
        self, request_id: str, prompt: Prompt, sampling: SamplingParameters
    ) -> AsyncGenerator[TokensGenerated | Answered, None]:
        loop = asyncio.get_running_loop()
        events: asyncio.Queue[EngineEvent] = asyncio.Queue()

        def pass_on(event: EngineEvent) -> None:
            loop.call_soon_threadsafe(events.put_nowait, event)

        self._engine.submit(GenerationRequest(request_id, prompt, sampling, pass_on))
        try:
            while True:
                event = await events.get()
                if isinstance(event, GenerationFailed):
                    raise event.error
                if isinstance(event, GenerationFinished):
                    if event.text:
                        yield TokensGenerated((), event.text)
                    yield Answered(event, prompt.num_text_tokens, prompt.num_visual_tokens)
                    return
                yield event
        finally:
            self._engine.cancel(request_id)


def fill(layout: PromptLayout, embeddings: tuple[torch.Tensor, ...]) -> Prompt:
    """Put the pictures' embeddings, each [n, hidden_size], into their places."""
    return Prompt(
        tuple(
            VisualSegment(embeddings[segment.image_index])
            if isinstance(segment, ImageSegment)
            else segment
            for segment in layout.segments
        )
    )
