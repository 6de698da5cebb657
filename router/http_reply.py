"""Sends an answer over HTTP: as one document, or as events while it comes.

An answer's status is only known when something of it is there, so nothing is sent before its first
token: a picture that cannot be decoded is a 400 also where a stream was asked for. What fails after
that can only be told as an event.
"""

import logging
from collections.abc import AsyncGenerator, Mapping

from starlette.types import Message, Send

from common.errors import DvdError, UnavailableError
from router.answer import AnswerFinished
from router.language_client import AnswerDelta
from router.openai_answer import AnswerGatherer
from router.openai_chunks import ChunkWriter
from router.openai_error import JSON_TYPE, error_event
from router.pipeline import AnswerEvent

log = logging.getLogger(__name__)

EVENTS_TYPE = "text/event-stream; charset=utf-8"
Events = AsyncGenerator[AnswerEvent, None]


class Reply:
    """Passes on what is sent, and knows whether anything was.

    Attributes:
        has_begun: Whether status and headers are on their way.
    """

    def __init__(self, send: Send) -> None:
        self._send = send
        self.has_begun = False

    async def send(self, message: Message) -> None:
        """Send a message of ASGI."""
        self.has_begun = True
        await self._send(message)


async def send_whole(
    events: Events, gatherer: AnswerGatherer, headers: Mapping[str, str], send: Send
) -> None:
    """Send an answer once it is complete.

    Raises:
        DvdError: There is none.
    """
    async for event in events:
        if isinstance(event, AnswerDelta):
            gatherer.add(event)
        elif isinstance(event, AnswerFinished):
            document = gatherer.document(event)
            length = {"content-length": str(len(document))}
            await _start(send, JSON_TYPE, {**headers, **length})
            await send({"type": "http.response.body", "body": document})
            return
    raise UnavailableError("The answer ended without an end.")


async def send_stream(
    events: Events, writer: ChunkWriter, headers: Mapping[str, str], send: Send
) -> None:
    """Send an answer as it comes.

    Raises:
        DvdError: It has failed before its first token.
    """
    has_begun = False
    try:
        async for event in events:
            if not isinstance(event, AnswerDelta | AnswerFinished):
                continue
            news = writer.delta(event) if isinstance(event, AnswerDelta) else writer.finish(event)
            if not has_begun:
                await _start(send, EVENTS_TYPE, {**headers, "cache-control": "no-cache"})
                news, has_begun = writer.start() + news, True
            if news:
                await _send_more(send, news)
    except Exception as error:  # the client hears of it in the stream
        if not has_begun:
            raise
        await break_off(_told(error), send)
        return
    await send({"type": "http.response.body", "body": b""})


async def break_off(error: DvdError, send: Send) -> None:
    """End a stream of events that has begun with an error."""
    await send({"type": "http.response.body", "body": error_event(error)})


def _told(error: Exception) -> DvdError:
    if isinstance(error, DvdError):
        return error
    log.error("unexpected error", exc_info=error)
    return DvdError()


async def _start(send: Send, media_type: str, headers: Mapping[str, str]) -> None:
    named = {"content-type": media_type, **headers}
    encoded = [(name.encode(), value.encode("latin-1")) for name, value in named.items()]
    await send({"type": "http.response.start", "status": 200, "headers": encoded})


async def _send_more(send: Send, news: bytes) -> None:
    await send({"type": "http.response.body", "body": news, "more_body": True})
