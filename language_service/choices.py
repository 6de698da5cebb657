"""The answers of one request under way: for each choice one sequence in the engine.

The first choice computes the prompt. The others are submitted as soon as it has, and find the
prompt in the cache: the prompt is computed once. Pictures that nobody sends are held for each of
them from the start, because nobody would send them later either. Choices that are complete when
the request comes, because another replica has computed them, take no part.
"""

import asyncio
import hashlib
import struct
from collections.abc import AsyncIterator, Sequence
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
from language_service.loop_mail import LoopMail
from language_service.prompt import Prompt, VisualSegment
from language_service.resumption import ResumedAnswer

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
        mail: Brings events from the engine's thread; one for all requests, so that it wakes the
            loop once for the tokens of all.
        resumed: What is delivered of each already; empty for nothing.
    """

    def __init__(
        self,
        engine: LanguageEngine,
        num_choices: int,
        mail: LoopMail,
        resumed: Sequence[ResumedAnswer] = (),
    ) -> None:
        self._engine = engine
        self._mail = mail
        self._resumed = tuple(resumed) or (ResumedAnswer(),) * num_choices
        # The choices that go on, and those that have an end already.
        self._open = [choice for choice, each in enumerate(self._resumed) if each.end is None]
        self._complete = [each for each in self._resumed if each.end is not None]
        self._events: asyncio.Queue[EngineEvent] = asyncio.Queue()
        # As submitted: what is common to all choices, with the pictures that have come so far.
        self._asked: GenerationRequest
        self._submitted: list[str] = []
        self._holds: list[PrefixHold] = []

    @property
    def prompt(self) -> Prompt:
        """The prompt, with the pictures that have come so far."""
        return self._asked.prompt

    @property
    def is_complete(self) -> bool:
        """Whether there is nothing to compute."""
        return not self._open

    def submit(self, request: GenerationRequest) -> None:
        """Begin with the first choice that goes on, and hold for the others what is held for it.

        Args:
            request: As if there were one choice; not called where all are complete.

        Raises:
            DvdError: The engine refuses it; what is held for it is let go.
        """
        self._asked = request
        if request.hold is not None:
            self._holds.append(request.hold)
            for _ in self._open[1:]:
                self._holds.append(self._engine.hold_again(request.hold))
        self._submit(self._open[0], request.request_id)

    def pass_on(self, event: EngineEvent) -> None:
        """Take an event from the engine's thread."""
        self._mail.call(lambda: self._events.put_nowait(event))

    def supply(self, image_index: int, picture: VisualSegment) -> None:
        """Give a picture that has come to the engine."""
        asked = self._asked
        self._asked = replace(asked, prompt=asked.prompt.with_image(image_index, picture))
        self._engine.supply(asked.request_id, image_index, picture)

    async def events(self) -> AsyncIterator[TokensGenerated | ChoicesFinished]:
        """Follow all choices to their ends.

        Raises:
            DvdError: One of them has failed.
        """
        ends: dict[int, GenerationFinished] = {}
        for complete in self._complete:
            if complete.end is not None:
                ends[complete.end.choice] = complete.end
                if not complete.is_told:
                    yield _last_piece(complete.end)
        while len(ends) < len(self._resumed):
            event = await self._events.get()
            if isinstance(event, GenerationFailed):
                raise event.error
            if len(self._submitted) < len(self._open):
                self._submit_others()
            if isinstance(event, TokensGenerated):
                yield event
                continue
            ends[event.choice] = event
            yield _last_piece(event)
        yield ChoicesFinished(tuple(ends[choice] for choice in sorted(ends)))

    def close(self) -> None:
        """Forget all choices and let go what is held for those that never began."""
        for request_id in self._submitted:
            self._engine.cancel(request_id)
        for hold in self._holds:
            self._engine.let_go(hold)
        self._holds.clear()

    def _submit_others(self) -> None:
        """Begin with all choices but the first, whose prompt is computed by now."""
        for choice in self._open[1:]:
            # No client can give a line break in a name.
            self._submit(choice, f"{self._asked.request_id}\n{choice}")

    def _submit(self, choice: int, request_id: str) -> None:
        asked, resumed = self._asked, self._resumed[choice]
        request = replace(
            asked,
            request_id=request_id,
            sampling=replace(asked.sampling, seed=choice_seed(asked.sampling.seed, choice)),
            hold=self._holds[0] if self._holds else None,
            choice=choice,
            delivered_ids=resumed.token_ids,
            text=resumed.text,
        )
        self._submitted.append(request_id)
        self._engine.submit(request)
        # Its own hold is the engine's now.
        self._holds = self._holds[1:]


def _last_piece(finished: GenerationFinished) -> TokensGenerated:
    return TokensGenerated((), finished.text, choice=finished.choice, end=finished.end)


def choice_seed(seed: int, choice: int) -> int:
    """Seed of one of several choices; the first one's is the request's own."""
    if choice == 0:
        return seed
    digest = hashlib.blake2b(struct.pack("<QQ", seed, choice), digest_size=8, person=b"choice")
    return int.from_bytes(digest.digest(), "little") & MAX_SEED
