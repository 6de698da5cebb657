"""Receives embedding streams into the inbox: manifest, chunks within credit, commit.

The other end of `vision_service/sender.py`. A stream that breaks, lies or falls silent gives its
place in the inbox up, so that another attempt may fill it.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator

from common.errors import EmbeddingRejectedError, UnavailableError
from common.stream_codec import PayloadChunk, StreamMessage
from language_service.credit import CreditWindow
from language_service.embedding_manifest import manifest_of
from language_service.inbox import EmbeddingWriter, Inbox
from protos.dvd.v1 import embedding_pb2

Response = embedding_pb2.PutEmbeddingsResponse


class EmbeddingReceiver:
    """Receives into one inbox.

    Args:
        inbox: Where embeddings are reserved and wait.
        credit_bytes: Most payload bytes of a stream that may be on their way.
        silence_seconds: Time without a message after which a stream is given up.
    """

    def __init__(self, inbox: Inbox, credit_bytes: int, silence_seconds: float) -> None:
        self._inbox = inbox
        self._credit_bytes = credit_bytes
        self._silence_seconds = silence_seconds

    async def receive(
        self, messages: AsyncIterator[StreamMessage]
    ) -> AsyncGenerator[Response, None]:
        """Receive one embedding.

        Args:
            messages: From the sender.

        Yields:
            Credit, more credit as bytes are taken in, the commit.

        Raises:
            DvdError: The stream is refused.
        """
        opening = await self._next(messages)
        if not isinstance(opening, embedding_pb2.EmbeddingManifest):
            raise EmbeddingRejectedError("An embedding stream opens with its manifest.")
        writer = self._inbox.open(manifest_of(opening))
        try:
            credit = CreditWindow(writer.manifest.num_bytes, self._credit_bytes)
            yield _credit(credit)
            while (message := await self._next(messages)) is not None:
                _write(writer, message, credit)
                if credit.raise_for(writer.received_bytes):
                    yield _credit(credit)
            writer.commit()
            committed = embedding_pb2.EmbeddingCommitted(num_bytes=writer.received_bytes)
            yield Response(committed=committed)
        finally:
            writer.close()

    async def _next(self, messages: AsyncIterator[StreamMessage]) -> StreamMessage | None:
        try:
            async with asyncio.timeout(self._silence_seconds):
                return await anext(messages, None)
        except TimeoutError as silence:
            raise UnavailableError(
                f"The sender of the embedding was silent for {self._silence_seconds:g} seconds."
            ) from silence


def _write(writer: EmbeddingWriter, message: StreamMessage, credit: CreditWindow) -> None:
    if not isinstance(message, PayloadChunk):
        raise EmbeddingRejectedError("Only chunks may follow the manifest.")
    end = message.byte_offset + len(message.data)
    if credit.limit_bytes < end <= writer.manifest.num_bytes:
        raise EmbeddingRejectedError(
            f"A chunk ends at byte {end}; the sender has credit for {credit.limit_bytes}."
        )
    writer.write(message.byte_offset, message.checksum, message.data)


def _credit(credit: CreditWindow) -> Response:
    given = embedding_pb2.EmbeddingCredit(limit_bytes=credit.limit_bytes)
    return Response(credit=given)
