"""Streams one projected picture into a language replica's inbox, within its credit.

The stream opens with the manifest; the receiver answers with credit in bytes; chunks follow, each
with its checksum; the receiver's last word is the commit. A stream that breaks is repeated once.
"""

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass, field

import grpc

from common.busy_time import BusyTime
from common.distribution import STAGE_SECONDS, Distribution
from common.errors import (
    CancelledRequestError,
    DeadlineExpiredError,
    DvdError,
    StrandedError,
    UnavailableError,
    UnreachableError,
)
from common.rpc import peer_errors
from common.stream_codec import PayloadChunk, StreamMessage
from common.tensor_codec import checksum, plan_chunks
from protos.dvd.v1 import embedding_pb2
from vision_service.language_peers import LanguagePeers

Stream = grpc.aio.StreamStreamCall[StreamMessage, embedding_pb2.PutEmbeddingsResponse]

MAX_STREAMS = 2


@dataclass(frozen=True, slots=True)
class Transfer:
    """What a push cost.

    Attributes:
        num_bytes: Payload bytes.
        seconds: From the manifest to the commit.
    """

    num_bytes: int
    seconds: float


@dataclass(slots=True)
class StreamCounts:
    """What became of the streams that were opened, and how long they took.

    Attributes:
        committed: Taken whole by their receivers.
        broken: Lost on the way; each is repeated once.
        refused: Ended by their receivers, or out of time.
        transfer_seconds: Of each embedding that was taken, from its first manifest on.
        credit_seconds: Of each stream that was written to its end, waiting for credit.
        transferring: When embeddings were on their way.
    """

    committed: int = 0
    broken: int = 0
    refused: int = 0
    transfer_seconds: Distribution = field(default_factory=lambda: Distribution(STAGE_SECONDS))
    credit_seconds: Distribution = field(default_factory=lambda: Distribution(STAGE_SECONDS))
    transferring: BusyTime = field(default_factory=BusyTime)


class EmbeddingSender:
    """Sends to any number of language replicas, any number of embeddings at a time.

    Attributes:
        streams: Streams so far, by what became of them.
    """

    def __init__(self, chunk_bytes: int, peers: LanguagePeers | None = None) -> None:
        """Open no channel yet.

        Args:
            chunk_bytes: Most payload bytes of a message.
            peers: Its channels; None for its own.
        """
        self.streams = StreamCounts()
        self._chunk_bytes = chunk_bytes
        self._peers = peers or LanguagePeers()

    async def send(
        self,
        destination: str,
        manifest: embedding_pb2.EmbeddingManifest,
        payload: memoryview,
        timeout_seconds: float | None,
    ) -> Transfer:
        """Send one embedding and wait for its commit.

        Args:
            destination: `host:port` of the language replica.
            manifest: Describes the payload; its slot's `repeat` counts the streams that broke.
            payload: All bytes, tile after tile.
            timeout_seconds: Time left; None for no limit.

        Raises:
            DvdError: What the receiver answered, or UnavailableError where it is gone; a refusal
                that comes between chunks may be told as UnavailableError too.
        """
        started = time.monotonic()
        for repeat in range(MAX_STREAMS):
            manifest.slot.repeat = repeat
            elapsed = time.monotonic() - started
            try:
                await self._send_once(
                    destination, manifest, payload, _left(timeout_seconds, elapsed)
                )
                self.streams.committed += 1
                break
            except (UnavailableError, CancelledRequestError) as error:
                self.streams.broken += 1
                if repeat < MAX_STREAMS - 1:
                    continue
                if isinstance(error, UnreachableError | CancelledRequestError):
                    # Told on as it is, it would say that this replica cannot be reached.
                    raise StrandedError("The language replica cannot be reached.") from error
                raise
            except DvdError:
                self.streams.refused += 1
                raise
        seconds = time.monotonic() - started
        self.streams.transfer_seconds.note(seconds)
        return Transfer(len(payload), seconds)

    async def close(self) -> None:
        """Close every channel."""
        await self._peers.close()

    async def _send_once(
        self,
        destination: str,
        manifest: embedding_pb2.EmbeddingManifest,
        payload: memoryview,
        timeout_seconds: float | None,
    ) -> None:
        async with self._peers.lease(destination) as put_embeddings:
            with self.streams.transferring.doing(), peer_errors():
                stream = put_embeddings(timeout=timeout_seconds)
                try:
                    # A write on a stream that the receiver has ended, or an end on one that is
                    # just breaking; reading on says why.
                    with suppress(asyncio.InvalidStateError, grpc.aio.InternalError):
                        await self._write(stream, manifest, payload)
                    await _read_commit(stream)
                finally:
                    stream.cancel()

    async def _write(
        self, stream: Stream, manifest: embedding_pb2.EmbeddingManifest, payload: memoryview
    ) -> None:
        await stream.write(manifest)
        token_bytes = len(payload) // sum(manifest.tile_tokens)
        tile_bytes = [tokens * token_bytes for tokens in manifest.tile_tokens]
        credit, credit_seconds = 0, 0.0
        for span in plan_chunks(tile_bytes, self._chunk_bytes):
            end = span.offset + span.length
            while end > credit:
                began_at = time.monotonic()
                credit = (await _next(stream)).credit.limit_bytes
                credit_seconds += time.monotonic() - began_at
            data = payload[span.offset : end]
            await stream.write(PayloadChunk(span.offset, checksum(data), data))
        await stream.done_writing()
        self.streams.credit_seconds.note(credit_seconds)


async def _read_commit(stream: Stream) -> None:
    while not (await _next(stream)).HasField("committed"):
        pass


async def _next(stream: Stream) -> embedding_pb2.PutEmbeddingsResponse:
    response = await stream.read()
    if not isinstance(response, embedding_pb2.PutEmbeddingsResponse):
        raise UnavailableError("The language replica ended the stream before its commit.")
    return response


def _left(timeout_seconds: float | None, elapsed_seconds: float) -> float | None:
    if timeout_seconds is None:
        return None
    if elapsed_seconds >= timeout_seconds:
        raise DeadlineExpiredError("The deadline passed.")
    return timeout_seconds - elapsed_seconds
