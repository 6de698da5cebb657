"""Answers completions over HTTP: one request in, one document or one stream of events out.

A client that goes away ends the work, whatever it waits for.
"""

import asyncio
import math
import time
import uuid
from collections.abc import Callable, Coroutine, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from common.errors import InvalidRequestError, UnavailableError
from protos.dvd.v1 import inference_pb2
from router.front_door import Caller, FrontDoor
from router.http_body import BodyReader
from router.http_reply import Reply, break_off, send_stream, send_whole
from router.openai_answer import AnswerGatherer, CompletionHead, Dialect
from router.openai_chunks import ChunkWriter
from router.openai_request import read_body
from router.openai_shapes import CommonRequest
from router.prompt_batch import answered_together
from router.tenants import TENANT_HEADER

Shape = TypeVar("Shape", bound=CommonRequest)

# A request's own name for itself, given and echoed.
REQUEST_ID_HEADER = "x-request-id"
DEADLINE_HEADER = "x-dvd-deadline-seconds"
# Bodies beyond this are read beside the event loop: decoding pictures holds it up.
LARGE_BODY_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class CompletionKind(Generic[Shape]):
    """What tells chats from bare prompts.

    Attributes:
        shape: Of the body.
        meaning: From body and request id to the wire requests, at least one.
        dialect: Of the answer.
    """

    shape: type[Shape]
    meaning: Callable[[Shape, str], Sequence[inference_pb2.GenerateRequest]]
    dialect: Dialect


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that was read.

    Attributes:
        shape: As it came.
        wires: What it means; several prompts are several requests.
        request_id: Its name.
    """

    shape: CommonRequest
    wires: Sequence[inference_pb2.GenerateRequest]
    request_id: str


class CompletionEndpoint(Generic[Shape]):
    """One path of the HTTP door, as an ASGI application."""

    def __init__(self, door: FrontDoor, bodies: BodyReader, kind: CompletionKind[Shape]) -> None:
        self._door = door
        self._bodies = bodies
        self._kind = kind

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request.

        Raises:
            DvdError: Nothing of the answer is sent yet, and there will be none.
        """
        http, reply = Request(scope, receive), Reply(send)
        with self._door.counted():
            asked, caller = await self._read(http), caller_of(http)
        try:
            await while_connected(receive, self._answer(asked, caller, reply.send))
        except asyncio.CancelledError as stopped:
            # The server does so alone, to what has not ended in the time that it had.
            refusal = UnavailableError("This router has stopped.")
            if not reply.has_begun:
                raise refusal from stopped
            if asked.shape.stream:
                await break_off(refusal, send)

    async def _read(self, http: Request) -> Asked:
        request_id = http.headers.get(REQUEST_ID_HEADER) or uuid.uuid4().hex
        http.state.request_id = request_id
        async with self._bodies.body(http) as body:
            if len(body) > LARGE_BODY_BYTES:
                return await asyncio.to_thread(self._understand, body, request_id)
            return self._understand(body, request_id)

    def _understand(self, body: bytes, request_id: str) -> Asked:
        shape = read_body(self._kind.shape, body)
        return Asked(shape, self._kind.meaning(shape, request_id), request_id)

    async def _answer(self, asked: Asked, caller: Caller, send: Send) -> None:
        head = CompletionHead(
            f"{self._kind.dialect.id_prefix}{asked.request_id}",
            int(time.time()),
            self._door.model.name,
            self._door.model.fingerprint,
        )
        shape, headers = asked.shape, {REQUEST_ID_HEADER: asked.request_id}
        answers = [self._door.answer(wire, caller) for wire in asked.wires]
        together = answered_together(answers, shape.num_choices) if answers[1:] else answers[0]
        num_choices = len(answers) * shape.num_choices
        async with aclosing(together) as events:
            if shape.stream:
                writer = ChunkWriter(head, self._kind.dialect, num_choices, shape.includes_usage)
                await send_stream(events, writer, headers, send)
            else:
                gatherer = AnswerGatherer(head, self._kind.dialect, num_choices)
                await send_whole(events, gatherer, headers, send)


def caller_of(http: Request) -> Caller:
    """Who asks, by the headers, and how long it may take.

    Raises:
        InvalidRequestError: The deadline is no number of seconds.
    """
    told = http.headers.get(DEADLINE_HEADER)
    try:
        seconds = None if told is None else float(told)
    except ValueError:
        seconds = math.nan
    if seconds is not None and not math.isfinite(seconds):
        raise InvalidRequestError("A deadline is a number of seconds.", DEADLINE_HEADER)
    return Caller(http.headers.get(TENANT_HEADER, ""), seconds)


async def while_connected(receive: Receive, work: Coroutine[Any, Any, None]) -> None:
    """Do work for a client, and give it up when the client goes away.

    Raises:
        DvdError: As the work.
    """
    working, leaving = asyncio.create_task(work), asyncio.create_task(_disconnected(receive))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            await working
    finally:
        for task in (working, leaving):
            task.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
