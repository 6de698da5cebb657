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
from language_service.embedding_writer import EmbeddingWriter
from language_service.inbox import Inbox
from protos.dvd.v1 import embedding_pb2

Response = embedding_pb2.PutEmbeddingsResponse


class IncomingEmbedding:
    """One embedding stream, message by message; close it however it ends.

    Args:
        inbox: Where its place is.
        credit_bytes: Most payload bytes that may be on their way.
    """

    def __init__(self, inbox: Inbox, credit_bytes: int) -> None:
        self._inbox = inbox
        self._credit_bytes = credit_bytes
        self._writer: EmbeddingWriter | None = None
        self._credit = CreditWindow(0, credit_bytes)

    def take(self, message: StreamMessage) -> Response | None:
        """Take the next message; say what the sender must be told.

        Raises:
            DvdError: The stream is refused.
        """
        if self._writer is None:
            self._writer = self._open(message)
            self._credit = CreditWindow(self._writer.manifest.num_bytes, self._credit_bytes)
            return self._granted()
        if not isinstance(message, PayloadChunk):
            raise EmbeddingRejectedError("Only chunks may follow the manifest.")
        end = message.byte_offset + len(message.data)
        if self._credit.limit_bytes < end <= self._writer.manifest.num_bytes:
            raise EmbeddingRejectedError(
                f"A chunk ends at byte {end}; the sender has credit for {self._credit.limit_bytes}."
            )
        self._writer.write(message.byte_offset, message.checksum, message.data)
        return self._granted() if self._credit.raise_for(self._writer.received_bytes) else None

    def end(self) -> Response:
        """Commit after the last message.

        Raises:
            DvdError: The embedding is not whole, or no longer wanted.
        """
        if self._writer is None:
            raise EmbeddingRejectedError("An embedding stream opens with its manifest.")
        self._writer.commit()
        num_bytes = self._writer.received_bytes
        return Response(committed=embedding_pb2.EmbeddingCommitted(num_bytes=num_bytes))

    def close(self) -> None:
        """Give the place up unless it was committed."""
        if self._writer is not None:
            self._writer.close()

    def _open(self, message: StreamMessage) -> EmbeddingWriter:
        if not isinstance(message, embedding_pb2.EmbeddingManifest):
            raise EmbeddingRejectedError("An embedding stream opens with its manifest.")
        return self._inbox.open(manifest_of(message))

    def _granted(self) -> Response:
        credit = embedding_pb2.EmbeddingCredit(limit_bytes=self._credit.limit_bytes)
        return Response(credit=credit)


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
        incoming = IncomingEmbedding(self._inbox, self._credit_bytes)
        try:
            while (message := await self._next(messages)) is not None:
                response = incoming.take(message)
                if response is not None:
                    yield response
            yield incoming.end()
        finally:
            incoming.close()

    async def _next(self, messages: AsyncIterator[StreamMessage]) -> StreamMessage | None:
        try:
            async with asyncio.timeout(self._silence_seconds):
                return await anext(messages, None)
        except TimeoutError as silence:
            raise UnavailableError(
                f"The sender of the embedding was silent for {self._silence_seconds:g} seconds."
            ) from silence
