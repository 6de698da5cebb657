"""Streams one projected picture into a language replica's inbox, within its credit.

The stream opens with the manifest; the receiver answers with credit in bytes; chunks follow, each
with its checksum; the receiver's last word is the commit.
"""

import asyncio
import time
from dataclasses import dataclass

import grpc

from common.errors import DvdError, UnavailableError
from common.rpc import open_channel
from common.rpc_status import error_of
from common.tensor_codec import ByteSpan, checksum, plan_chunks
from protos.dvd.v1 import embedding_pb2, language_pb2_grpc

Stream = grpc.aio.StreamStreamCall[
    embedding_pb2.PutEmbeddingsRequest, embedding_pb2.PutEmbeddingsResponse
]


@dataclass(frozen=True, slots=True)
class Transfer:
    """What a push cost.

    Attributes:
        num_bytes: Payload bytes.
        seconds: From the manifest to the commit.
    """

    num_bytes: int
    seconds: float


class EmbeddingSender:
    """Keeps one channel per language replica."""

    def __init__(self, chunk_bytes: int) -> None:
        self._chunk_bytes = chunk_bytes
        self._channels: dict[str, grpc.aio.Channel] = {}

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
            manifest: Describes the payload.
            payload: All bytes, tile after tile.
            timeout_seconds: Time left; None for no limit.

        Raises:
            DvdError: What the receiver answered, or UnavailableError where it is gone; a refusal
                that comes between chunks may be told as UnavailableError too.
        """
        started = time.monotonic()
        stub = language_pb2_grpc.LanguageServiceStub(self._channel(destination))
        stream: Stream = stub.PutEmbeddings(timeout=timeout_seconds)
        try:
            await self._write(stream, manifest, payload)
            await self._read_commit(stream)
        except grpc.aio.AioRpcError as failure:
            raise error_of(failure) from failure
        except asyncio.InvalidStateError as ended:
            # grpc's word for a write on a stream that the receiver has ended: its status says why.
            raise await _status(stream) from ended
        finally:
            stream.cancel()
        return Transfer(len(payload), time.monotonic() - started)

    async def close(self) -> None:
        """Close every channel."""
        for channel in self._channels.values():
            await channel.close()
        self._channels.clear()

    def _channel(self, destination: str) -> grpc.aio.Channel:
        if destination not in self._channels:
            self._channels[destination] = open_channel(destination)
        return self._channels[destination]

    async def _write(
        self, stream: Stream, manifest: embedding_pb2.EmbeddingManifest, payload: memoryview
    ) -> None:
        await stream.write(embedding_pb2.PutEmbeddingsRequest(manifest=manifest))
        token_bytes = len(payload) // sum(manifest.tile_tokens)
        tile_bytes = [tokens * token_bytes for tokens in manifest.tile_tokens]
        credit = 0
        for span in plan_chunks(tile_bytes, self._chunk_bytes):
            while span.offset + span.length > credit:
                credit = (await _next(stream)).credit.limit_bytes
            await stream.write(_chunk(payload, span))
        await stream.done_writing()

    @staticmethod
    async def _read_commit(stream: Stream) -> None:
        while not (await _next(stream)).HasField("committed"):
            pass


def _chunk(payload: memoryview, span: ByteSpan) -> embedding_pb2.PutEmbeddingsRequest:
    data = bytes(payload[span.offset : span.offset + span.length])
    return embedding_pb2.PutEmbeddingsRequest(
        chunk=embedding_pb2.EmbeddingChunk(
            byte_offset=span.offset, checksum=checksum(data), inline=data
        )
    )


async def _next(stream: Stream) -> embedding_pb2.PutEmbeddingsResponse:
    response = await stream.read()
    if not isinstance(response, embedding_pb2.PutEmbeddingsResponse):
        raise await _status(stream)
    return response


async def _status(stream: Stream) -> DvdError:
    code, details = await stream.code(), await stream.details()
    trailing = await stream.trailing_metadata()
    if code is grpc.StatusCode.OK:
        return UnavailableError("The language replica ended the stream before its commit.")
    initial = await stream.initial_metadata()
    return error_of(grpc.aio.AioRpcError(code, initial, trailing, details=details))
