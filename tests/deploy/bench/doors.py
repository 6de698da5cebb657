"""Doors that answer from memory."""

import asyncio
from collections.abc import AsyncIterator

from common.errors import DvdError
from deploy.bench.door import Delta, Ended, Question, TokenUse

Event = Delta | Ended


class ScriptedDoor:
    """Answers every question with a word a token; it can be told to fail, to hold, or to stop.

    Attributes:
        asked: Every question, as it came.
        fails: Errors by the text of the question's last message.
        ends: Whether answers have an end.
        holds: Answers wait for it behind their first token.
        most_at_once: Of the answers so far.
        num_retries: Reported as they are.
    """

    def __init__(self) -> None:
        self.asked: list[Question] = []
        self.fails: list[DvdError | None] = []
        self.ends = True
        self.holds: asyncio.Event | None = None
        self.holding = asyncio.Event()
        self.num_retries = 0
        self.most_at_once = 0
        self._at_once = 0

    async def model_name(self) -> str:
        return "scripted"

    async def ask(self, question: Question) -> AsyncIterator[Event]:
        self.asked.append(question)
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            await asyncio.sleep(0)  # lets others begin
            if self.fails and (error := self.fails.pop(0)) is not None:
                raise error
            for index in range(question.max_tokens):
                if index == 1 and self.holds is not None:
                    self.holding.set()
                    await self.holds.wait()
                yield Delta(f"w{index} ", 1)
            if self.ends:
                words = len(question.messages[-1].text.split())
                yield Ended(TokenUse(text_tokens=words, output_tokens=question.max_tokens))
        finally:
            self._at_once -= 1

    async def close(self) -> None:
        pass
