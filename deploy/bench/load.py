"""Send a load to a door: each conversation when it is due, never more at once than allowed.

A request that fails is noted by its code and ends its conversation; the load goes on. When it is
told to stop, what is under way is cut off and noted as that.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from common.errors import DvdError, UnavailableError
from common.types import Role
from deploy.bench.conversations import Conversation, Turn
from deploy.bench.door import Delta, Door, Ended, Question, Said
from deploy.bench.exchange import Arrival, Exchange

Clock = Callable[[], float]
# What stands in a conversation for an answer without text.
NO_WORDS = "..."


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """How requests are sent.

    Attributes:
        max_concurrency: Most conversations at once; None for any number.
        ignore_eos: Have every answer be as long as its limit.
        temperature: 0 for greedy.
        timeout_seconds: Deadline of each request.
    """

    max_concurrency: int | None = None
    ignore_eos: bool = False
    temperature: float = 0.0
    timeout_seconds: float = 600.0


@dataclass(slots=True)
class Progress:
    """How far a load is.

    Attributes:
        sent: Requests sent.
        answered: Of these.
        failed: Of these.
        output_tokens: That came so far.
    """

    sent: int = 0
    answered: int = 0
    failed: int = 0
    output_tokens: int = 0


class Load:
    """One load, sent once.

    Args:
        door: Where to.
        options: How.
        clock: Seconds, of which only differences count.

    Attributes:
        progress: How far it is.
        exchanges: Requests that have ended, in the order of their ends.
    """

    def __init__(self, door: Door, options: LoadOptions, clock: Clock) -> None:
        self._door = door
        self._options = options
        self._clock = clock
        self._slots = asyncio.Semaphore(options.max_concurrency or 1 << 30)
        self.progress = Progress()
        self.exchanges: list[Exchange] = []

    async def send(
        self,
        conversations: Sequence[Conversation],
        offsets_seconds: Sequence[float],
        stopping: asyncio.Event,
    ) -> None:
        """Hold all conversations, or those until it is told to stop.

        Args:
            conversations: In the order of their arrival.
            offsets_seconds: When each is due, from now.
            stopping: Ends the load early.
        """
        began = self._clock()
        tasks = [
            asyncio.create_task(self._converse(conversation, began + offset))
            for conversation, offset in zip(conversations, offsets_seconds, strict=True)
        ]
        all_done = asyncio.gather(*tasks, return_exceptions=True)
        told = asyncio.create_task(stopping.wait())
        try:
            await asyncio.wait((all_done, told), return_when=asyncio.FIRST_COMPLETED)
        finally:
            told.cancel()
            for task in tasks:
                task.cancel()
        for outcome in await all_done:
            if isinstance(outcome, Exception):
                raise outcome

    async def _converse(self, conversation: Conversation, due_at_seconds: float) -> None:
        await asyncio.sleep(max(0.0, due_at_seconds - self._clock()))
        async with self._slots:
            said: list[Said] = []
            for turn in conversation.turns:
                said.append(Said(Role.USER, turn.text, turn.pictures))
                exchange = await self._ask(tuple(said), turn, conversation.repeats_pictures)
                if not exchange.is_answered:
                    return
                said.append(Said(Role.ASSISTANT, exchange.text or NO_WORDS))

    async def _ask(
        self, messages: tuple[Said, ...], turn: Turn, repeats_pictures: bool
    ) -> Exchange:
        question = Question(
            messages,
            turn.max_tokens,
            self._options.ignore_eos,
            self._options.temperature,
            self._options.timeout_seconds,
        )
        listener = _Listener(self._clock, self.progress)
        self.progress.sent += 1
        sent_at, error, is_cut_off = self._clock(), "", True
        try:
            await listener.listen(self._door, question)
            is_cut_off = False
        except DvdError as failure:
            error, is_cut_off = failure.code.name, False
        finally:
            exchange = Exchange(
                sent_at,
                self._clock(),
                tuple(listener.arrivals),
                num_pictures=len(turn.pictures),
                repeats_pictures=repeats_pictures and bool(turn.pictures),
                text="".join(listener.texts),
                use=listener.ended.use if listener.ended else None,
                stages=listener.ended.stages if listener.ended else None,
                error=error,
                is_cut_off=is_cut_off,
            )
            self.exchanges.append(exchange)
        self.progress.answered += exchange.is_answered
        self.progress.failed += not exchange.is_answered
        return exchange


class _Listener:
    """Notes what comes of one answer and when."""

    def __init__(self, clock: Clock, progress: Progress) -> None:
        self._clock = clock
        self._progress = progress
        self.arrivals: list[Arrival] = []
        self.texts: list[str] = []
        self.ended: Ended | None = None

    async def listen(self, door: Door, question: Question) -> None:
        """Hear an answer to its end.

        Raises:
            DvdError: What the door answered; UnavailableError where it ended without an end.
        """
        async for event in door.ask(question):
            if isinstance(event, Delta):
                self.texts.append(event.text)
                self._progress.output_tokens += event.num_tokens
                if event.num_tokens:
                    self.arrivals.append(Arrival(self._clock(), event.num_tokens))
            else:
                self.ended = event
        if self.ended is None:
            raise UnavailableError("The router ended without finishing the answer.")
