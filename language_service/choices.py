"""The answers of one request under way: for each choice one sequence in the engine.

The first choice computes the prompt. The others are submitted as soon as it has, and find the
prompt in the cache: the prompt is computed once. Pictures that nobody sends are held for each of
them from the start, because nobody would send them later either.
"""

import asyncio
import hashlib
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

from language_service.block_tables import PrefixHold
from language_service.engine import LanguageEngine
from language_service.generation import (
    EngineEvent,
    GenerationFailed,
    GenerationFinished,
    GenerationRequest,
    TokensGenerated,
)
from language_service.prompt import Prompt, VisualSegment

MAX_SEED = 2**63 - 1


@dataclass(frozen=True, slots=True)
class ChoicesFinished:
    """All choices are complete.

    Attributes:
        choices: Their ends, in order.
    """

    choices: tuple[GenerationFinished, ...]


class Choices:
    """All choices of one request, on the event loop.

    Args:
        engine: Computes them.
        num_choices: How many.
    """

    def __init__(self, engine: LanguageEngine, num_choices: int) -> None:
        self._engine = engine
        self._num_choices = num_choices
        self._loop = asyncio.get_running_loop()
        self._events: asyncio.Queue[EngineEvent] = asyncio.Queue()
        self._requests: list[GenerationRequest] = []
        self._holds: list[PrefixHold] = []

    @property
    def prompt(self) -> Prompt:
        """The prompt, with the pictures that have come so far."""
        return self._requests[0].prompt

    def submit(self, first: GenerationRequest) -> None:
        """Begin with the first choice, and hold for the others what is held for it.

        Raises:
            DvdError: The engine refuses it; what is held for it is let go.
        """
        self._requests.append(first)
        if first.hold is not None:
            self._holds.append(first.hold)
            for _ in range(1, self._num_choices):
                self._holds.append(self._engine.hold_again(first.hold))
        self._engine.submit(first)
        # Its own hold is the engine's now.
        self._holds = self._holds[1:]

    def pass_on(self, event: EngineEvent) -> None:
        """Take an event from the engine's thread."""
        self._loop.call_soon_threadsafe(self._events.put_nowait, event)

    def supply(self, image_index: int, picture: VisualSegment) -> None:
        """Give a picture that has come to the engine."""
        first = self._requests[0]
        self._requests[0] = replace(first, prompt=first.prompt.with_image(image_index, picture))
        self._engine.supply(first.request_id, image_index, picture)

    async def events(self) -> AsyncIterator[TokensGenerated | ChoicesFinished]:
        """Follow all choices to their ends.

        Raises:
            DvdError: One of them has failed.
        """
        ends: dict[int, GenerationFinished] = {}
        while len(ends) < self._num_choices:
            event = await self._events.get()
            if isinstance(event, GenerationFailed):
                raise event.error
            if len(self._requests) < self._num_choices:
                self._submit_others()
            if isinstance(event, TokensGenerated):
                yield event
                continue
            ends[event.choice] = event
            if event.text:
                yield TokensGenerated((), event.text, choice=event.choice)
        yield ChoicesFinished(tuple(ends[choice] for choice in sorted(ends)))

    def close(self) -> None:
        """Forget all choices and let go what is held for those that never began."""
        for request in self._requests:
            self._engine.cancel(request.request_id)
        for hold in self._holds:
            self._engine.let_go(hold)
        self._holds.clear()

    def _submit_others(self) -> None:
        """Begin with all choices but the first, whose prompt is computed by now."""
        first = self._requests[0]
        for choice in range(1, self._num_choices):
            request = replace(
                first,
                # No client can give a line break in a name.
                request_id=f"{first.request_id}\n{choice}",
                sampling=replace(first.sampling, seed=choice_seed(first.sampling.seed, choice)),
                hold=self._holds[0] if self._holds else None,
                choice=choice,
            )
            self._requests.append(request)
            self._engine.submit(request)
            self._holds = self._holds[1:]


def choice_seed(seed: int, choice: int) -> int:
    """Seed of one of several choices; the first one's is the request's own."""
    if choice == 0:
        return seed
    digest = hashlib.blake2b(struct.pack("<QQ", seed, choice), digest_size=8, person=b"choice")
    return int.from_bytes(digest.digest(), "little") & MAX_SEED
