"""Traffic of every kind that a dashboard shows, for as long as it is asked for.

Pictures that repeat and pictures that do not, text, chats of several turns, clients that leave,
deadlines that pass, requests that cannot be answered and more at once than fits.
"""

import asyncio
import random
import time
from collections import Counter
from itertools import count, islice

from common.errors import DvdError, OverloadedError
from common.types import Role
from deploy.client import InferenceClient
from protos.dvd.v1 import inference_pb2
from tests import pictures
from tests.integration.requests import wire_request
from tests.reference.conversation import Message, message, user

NUM_PICTURES = 24
MAX_TOKENS = 48
CLIENTS = 6


class ObservedLoad:
    """Clients that ask one thing after another.

    Args:
        address: Of a router.
        seed: Equal seeds ask the same.

    Attributes:
        counts: How many requests ended how.
    """

    def __init__(self, address: str, seed: int) -> None:
        self.counts: Counter[str] = Counter()
        self._client = InferenceClient(address)
        self._random = random.Random(seed)  # noqa: S311 - traffic, no secret
        self._new = (pictures.grid(1 + index % 3, 1 + index % 2, index) for index in count())
        self._pictures = list(islice(self._new, NUM_PICTURES))

    async def run(self, seconds: float) -> None:
        """Ask for so long, and wait for the last answers."""
        end = time.monotonic() + seconds
        async with asyncio.TaskGroup() as clients:
            for _ in range(CLIENTS):
                clients.create_task(self._ask_until(end))

    async def close(self) -> None:
        """Close the connection."""
        await self._client.close()

    async def _ask_until(self, end: float) -> None:
        kinds = [self._about_pictures] * 6 + [self._text] * 2 + [self._chat] * 2
        kinds += [self._leave, self._expire, self._wrong]
        while time.monotonic() < end:
            try:
                await self._random.choice(kinds)()
            except OverloadedError as error:
                self.counts["OverloadedError"] += 1
                await asyncio.sleep(error.retry_after_seconds)
            except DvdError as error:
                self.counts[type(error).__name__] += 1
            else:
                self.counts["ended"] += 1

    async def _about_pictures(self) -> None:
        chosen = self._random.sample(self._pictures, k=self._random.randint(0, 2))
        await self._client.answer(self._request((user(*chosen, next(self._new), "Well?"),)))

    async def _text(self) -> None:
        await self._client.answer(self._request((user("Say something about signs."),)))

    async def _chat(self) -> None:
        turns: list[Message] = [user(self._random.choice(self._pictures), "What is this?")]
        for question in ("Which colour has it?", "What is beside it?"):
            answer = await self._client.answer(self._request(tuple(turns)))
            turns += [message(Role.ASSISTANT, answer.text), user(question)]
        await self._client.answer(self._request(tuple(turns)))

    async def _leave(self) -> None:
        """Walk away after the first events."""
        stream = self._client.stream(self._request((user(self._pictures[0], "What is this?"),)))
        left = 3
        async for _ in stream:
            left -= 1
            if not left:
                break
        await stream.aclose()  # type: ignore[attr-defined]

    async def _expire(self) -> None:
        request = self._request((user(next(self._new), "What is this?"),))
        await self._client.answer(request, timeout_seconds=0.02)

    async def _wrong(self) -> None:
        await self._client.answer(self._request((user(b"no picture", "What is this?"),)))

    def _request(self, messages: tuple[Message, ...]) -> inference_pb2.GenerateRequest:
        request = wire_request(messages, self._random.randint(8, MAX_TOKENS))
        request.sampling.ignore_eos = True
        return request
